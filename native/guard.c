/*
 * guard: the spawn server of creche and, forked from it, one session guard per command.
 *
 * Owns: starting a command quickly (this process is tiny; forking the runtime's heap is not), and ending its
 * whole process tree. Refuses: policy. Graces, restarts and retries are the runtime's; this program does what
 * it is told and what the runtime's death demands. Called by src/process/SpawnServer.ts, which speaks the
 * same protocol in GuardProtocol.ts: change both, and PROTOCOL, together.
 *
 *   guard --version
 *   guard --serve DIRECTORY     descriptors 3: events, 4: liveness, 5: requests; DIRECTORY is private (0700)
 *
 *   events    socket pair. Fixed-size events, written by the server and by every session guard. One small write
 *             to a stream socket is one buffer in the kernel, so the events of many writers never mix. It
 *             outlives the server: guards hold it too. The runtime never writes to it: a write that found nobody
 *             would make its end forget the events that it has not read.
 *   requests  socket pair, read by the server alone.
 *   liveness  socket pair, never written to. Its other end is held by the runtime and nobody else, so end of
 *             file means that the runtime is gone. It is a level, not an edge: a guard forked a moment after
 *             the runtime died sees it as well.
 *   DIRECTORY/s     the runtime's listening socket. A guard connects three times: stdin, stdout, stderr.
 *                   A spare guard is forked and connects before there is a command for it; the command then comes
 *                   as a request over its stdin, and the server has no part in it.
 *   DIRECTORY/ID    a fifo per session, for commands to its guard. It works without the server, and opening
 *                   it for writing fails at once when the guard is gone.
 *
 * Outside Linux there is no subreaper: the process group and the liveness hold, daemons do not.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#define VERSION "0.1.0"
#define PROTOCOL 2

enum { EVENTS = 3, LIVENESS = 4, REQUESTS = 5 };
enum { TOKEN_BYTES = 16 };
/* What is still there so long after SIGKILL sits in the kernel (state D), or belongs to another user. */
enum { UNKILLABLE_MS = 5000 };

/* ---- events --------------------------------------------------------------------------------------- */

enum event_type {
  EVENT_HELLO = 1,    /* a: PROTOCOL, b: 1 when a subreaper holds the tree */
  EVENT_SPAWNED = 2,  /* a: pid of the command, b: pid of its guard */
  EVENT_FAILED = 3,   /* a: errno, b: enum step */
  EVENT_EXITED = 4,   /* a: exit code */
  EVENT_SIGNALED = 5, /* a: signal */
  EVENT_SURVIVOR = 6, /* a: pid that SIGKILL did not end */
  EVENT_CLOSED = 7,   /* a: number of survivors; the last event of a session */
  EVENT_STARTED = 8,  /* a, b: low and high half of the command's start time (field 22 of its stat) */
  EVENT_LOST = 9      /* the guard itself was killed; the server ends its tree, EVENT_CLOSED follows */
};

enum step { STEP_FORK = 1, STEP_CONNECT = 2, STEP_CWD = 3, STEP_EXEC = 4 };

struct event {
  uint32_t id;
  uint32_t type;
  int32_t a;
  int32_t b;
};

static void emit_events(const struct event *events, size_t count) {
  /* A runtime that died gives EPIPE: nobody is left to tell. One that is stopped makes us wait here. */
  while (write(EVENTS, events, count * sizeof *events) < 0 && errno == EINTR) {
  }
}

static void emit(uint32_t id, enum event_type type, int32_t a, int32_t b) {
  emit_events(&(struct event){id, type, a, b}, 1);
}

/* ---- time and waiting ------------------------------------------------------------------------------ */

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static sigset_t unblocked;

static void on_child(int sig) { (void)sig; }

/*
 * Waits until `fd` or the liveness is readable, a child changed, or `timeout_ms` passed (negative: for ever).
 * SIGCHLD is blocked except inside pselect, so a child that ends just before the wait is not missed.
 */
static void wait_for(int fd, int timeout_ms, int *fd_ready, int *runtime_gone) {
  fd_set set;
  FD_ZERO(&set);
  int top = -1;
  if (fd >= 0) FD_SET(fd, &set), top = fd;
  if (!*runtime_gone) {
    FD_SET(LIVENESS, &set);
    if (LIVENESS > top) top = LIVENESS;
  }
  struct timespec t = {timeout_ms / 1000, (timeout_ms % 1000) * 1000000L};
  int n = pselect(top + 1, &set, NULL, NULL, timeout_ms < 0 ? NULL : &t, &unblocked);
  *fd_ready = n > 0 && fd >= 0 && FD_ISSET(fd, &set);
  /* Nothing is ever written to the liveness: readable is end of file. */
  if (n > 0 && !*runtime_gone && FD_ISSET(LIVENESS, &set)) *runtime_gone = 1;
}

static void set_handler(int sig, void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(sig, &action, NULL);
}

/* Signals that the server and its guards ignore, so that a stray one cannot take the containment away. */
static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGALRM};

static void own_signals(void) {
  sigset_t block;
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) set_handler(ignored[i], SIG_IGN);
  set_handler(SIGCHLD, on_child);
  sigemptyset(&block);
  sigaddset(&block, SIGCHLD);
  sigprocmask(SIG_SETMASK, &block, NULL);
  sigemptyset(&unblocked);
}

/* ---- descendants ----------------------------------------------------------------------------------- */

typedef void (*visit)(pid_t pid, void *context);

#ifdef __linux__
/* False where the kernel has no CONFIG_PROC_CHILDREN, or `pid` is gone. */
static int children_by_file(pid_t pid, visit each, void *context) {
  char path[64], buffer[1024];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  pid_t number = 0;
  ssize_t n;
  /* One read may end in the middle of a number. */
  while ((n = read(fd, buffer, sizeof buffer)) > 0)
    for (ssize_t i = 0; i < n; i++) {
      if (buffer[i] >= '0' && buffer[i] <= '9') number = number * 10 + (buffer[i] - '0');
      else if (number > 0) each(number, context), number = 0;
    }
  if (number > 0) each(number, context);
  close(fd);
  return 1;
}

/* Fields 4 (parent) and 22 (start time) of /proc/PID/stat; false when there is no such process. */
static int process_stat(pid_t pid, pid_t *parent, unsigned long long *started) {
  char path[64], buffer[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, buffer, sizeof buffer - 1);
  close(fd);
  if (n <= 0) return 0;
  buffer[n] = 0;
  /* Field 2 is the name in parentheses and may hold anything, parentheses too: start behind the last one. */
  char *at = strrchr(buffer, ')');
  if (at == NULL) return 0;
  char *save = NULL;
  int field = 2;
  for (char *word = strtok_r(at + 1, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
    if (++field == 4) *parent = (pid_t)atoi(word);
    if (field == 22) {
      *started = strtoull(word, NULL, 10);
      return 1;
    }
  }
  return 0;
}

static void children_by_scan(pid_t parent, visit each, void *context) {
  DIR *proc = opendir("/proc");
  if (proc == NULL) return;
  struct dirent *entry;
  while ((entry = readdir(proc)) != NULL) {
    pid_t pid = (pid_t)atoi(entry->d_name), found = 0;
    unsigned long long started;
    if (pid > 0 && process_stat(pid, &found, &started) && found == parent) each(pid, context);
  }
  closedir(proc);
}

static void each_child(pid_t pid, visit each, void *context) {
  if (!children_by_file(pid, each, context) && pid == getpid()) children_by_scan(pid, each, context);
}
#else
static void each_child(pid_t pid, visit each, void *context) { (void)pid, (void)each, (void)context; }
#endif

static void kill_child(pid_t pid, void *context) {
  (void)context;
  kill(pid, SIGKILL);
}

/* A stopped process cannot fork: whole-tree SIGSTOP first is what wins against trees that fork as they are killed. */
static void freeze_below(pid_t pid, void *depth) {
  int left = *(int *)depth - 1;
  kill(pid, SIGSTOP);
  if (left > 0) each_child(pid, freeze_below, &left);
}

static void report_survivor(pid_t pid, void *context) {
  emit(*(uint32_t *)context, EVENT_SURVIVOR, pid, 0);
  ((uint32_t *)context)[1]++;
}

/* ---- the session guard ----------------------------------------------------------------------------- */

struct request {
  char *cwd;
  char **argv;
  char **envp;
  char *candidate; /* room for the longest DIRECTORY/COMMAND of the search through PATH */
};

static const char *directory;

static int failed_step, failed_errno;

/* Looks through PATH of the command's own environment, as execvp does, but never hands a script to a shell. */
static void execute(const struct request *r) {
  const char *name = r->argv[0];
  if (strchr(name, '/') != NULL) {
    execve(name, r->argv, r->envp);
    return;
  }
  const char *path = "/usr/local/bin:/usr/bin:/bin";
  for (char **e = r->envp; *e != NULL; e++)
    if (strncmp(*e, "PATH=", 5) == 0) path = *e + 5;
  int denied = 0;
  for (;;) {
    size_t n = strcspn(path, ":");
    memcpy(r->candidate, path, n);
    if (n > 0 && r->candidate[n - 1] != '/') r->candidate[n++] = '/';
    strcpy(r->candidate + n, name);
    execve(r->candidate, r->argv, r->envp);
    if (errno == EACCES) denied = 1;
    else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV && errno != ETIMEDOUT) return;
    path += strcspn(path, ":");
    if (*path == 0) break;
    path++;
  }
  errno = denied ? EACCES : ENOENT;
}

/*
 * Between vfork and exec: this runs on the guard's own memory while the guard stands still, so the two
 * `failed_` variables are how the errno comes back. Everything it touches was prepared before.
 */
static void become_command(const struct request *r, const int stdio[3]) {
  setpgid(0, 0);
  for (int fd = 0; fd < 3; fd++) {
    /* dup2(n, n) does nothing, so close-on-exec would stay. The server keeps 0, 1, 2 occupied; this is the second lock. */
    if (stdio[fd] == fd) fcntl(fd, F_SETFD, 0);
    else dup2(stdio[fd], fd);
  }
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) set_handler(ignored[i], SIG_DFL);
  set_handler(SIGCHLD, SIG_DFL);
  sigprocmask(SIG_SETMASK, &unblocked, NULL);
  if (chdir(r->cwd) < 0) {
    failed_step = STEP_CWD;
    failed_errno = errno;
    _exit(127);
  }
  execute(r);
  failed_step = STEP_EXEC;
  failed_errno = errno;
  _exit(127);
}

static __attribute__((noinline)) pid_t start_command(const struct request *r, const int stdio[3]) {
  pid_t pid = vfork();
  if (pid == 0) become_command(r, stdio);
  return pid;
}

static int close_on_exec(int fd) {
  if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

/* One stream to the runtime; it opens with the token and a byte that says which stream it is. */
static int connect_back(const unsigned char *token, char stream) {
  struct sockaddr_un address;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s/s", directory);
#ifdef SOCK_CLOEXEC
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
#else
  int fd = close_on_exec(socket(AF_UNIX, SOCK_STREAM, 0));
#endif
  if (fd < 0) return -1;
  while (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    if (errno == EINTR) continue;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
  }
  char opening[TOKEN_BYTES + 1];
  memcpy(opening, token, TOKEN_BYTES);
  opening[TOKEN_BYTES] = stream;
  if (write(fd, opening, sizeof opening) != (ssize_t)sizeof opening) {
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
  }
  return fd;
}

static int open_commands(uint32_t id, char *path, size_t size) {
  snprintf(path, size, "%s/%u", directory, id);
  if (mkfifo(path, 0600) < 0) return -1;
  /* Read-write: with a writer of our own the fifo never reports end of file between two commands. */
  return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

/* How the command ended, without reaping it: while the zombie is there its pid and group are nobody else's. */
static int has_exited(uint32_t id, pid_t leader, struct event *exit) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  int r;
  do r = waitid(P_PID, (id_t)leader, &info, WEXITED | WNOHANG | WNOWAIT);
  while (r < 0 && errno == EINTR);
  if (r < 0 || info.si_pid != leader) return 0;
  *exit = (struct event){id, info.si_code == CLD_EXITED ? EVENT_EXITED : EVENT_SIGNALED, info.si_status, 0};
  return 1;
}

/* Adopted strays that ended by themselves. The leader stays unreaped: its SIGCHLD is still pending, has_exited is next. */
static void reap_strays(pid_t leader) {
  for (;;) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return;
    if (info.si_pid == 0 || info.si_pid == leader) return;
    waitpid(info.si_pid, NULL, WNOHANG);
  }
}

enum reaped { REAPED_ALL, REAPED_SOME_LEFT };

static enum reaped reap_all(void) {
  for (;;) {
    pid_t pid = waitpid(-1, NULL, WNOHANG);
    if (pid > 0) continue;
    if (pid == 0) return REAPED_SOME_LEFT;
    if (errno == ECHILD) return REAPED_ALL;
    if (errno != EINTR) return REAPED_ALL;
  }
}

/*
 * Ends everything below this process and returns once nothing is left (ECHILD). A child of ours cannot be
 * recycled before we reap it, so killing by pid is safe here. What a killed process leaves behind becomes our
 * child (we are its subreaper), so every pass goes one level deeper; a fork with SIGKILL pending never returns.
 */
static void end_tree(uint32_t id, pid_t leader) {
  int64_t deadline = now_ms() + UNKILLABLE_MS;
  int exited, exit_told = 0, reported = 0, gone = 1, ready;
  struct event last[2];
  pid_t self = getpid();
  /* The leader is unreaped at this point: its group is still its own. */
  kill(-leader, SIGKILL);
  exited = has_exited(id, leader, &last[0]);
  if (!exited) kill(leader, SIGKILL);
  else if (reap_all() == REAPED_ALL) {
    /* Most commands end alone, and then both ends are one piece of news. */
    last[1] = (struct event){id, EVENT_CLOSED, 0, 0};
    emit_events(last, 2);
    return;
  }
  for (int pass = 0;; pass++) {
    /* Ordinary trees are gone after a pass or two. What is still there may be growing: stop it, then kill it. */
    if (pass >= 2) {
      int depth = 64;
      each_child(self, freeze_below, &depth);
    }
    each_child(self, kill_child, NULL);
    /* A wide tree dies one SIGCHLD at a time: later passes are spaced out, so that the work stays in proportion. */
    int64_t next = now_ms() + (pass < 3 ? 0 : pass < 50 ? 2 : pass < 100 ? 20 : 200);
    do {
      if (!exited) exited = has_exited(id, leader, &last[0]);
      if (exited && !exit_told) {
        emit_events(last, 1);
        exit_told = 1;
      }
      /* Not before: how the leader ended is lost with its reaping. */
      if (exited && reap_all() == REAPED_ALL) {
        if (!reported) emit(id, EVENT_CLOSED, 0, 0);
        return;
      }
      int64_t left = next - now_ms();
      wait_for(-1, left > 1 ? (int)left : 1, &ready, &gone);
    } while (now_ms() < next);
    if (!reported && now_ms() >= deadline) {
      uint32_t context[2] = {id, 0};
      each_child(self, report_survivor, context);
      if (context[1] == 0) report_survivor(leader, context);
      emit(id, EVENT_CLOSED, (int32_t)context[1], 0);
      reported = 1;
    }
  }
}

struct command {
  uint32_t type;
  int32_t signal;
};
enum { COMMAND_GROUP = 1, COMMAND_LEADER = 2, COMMAND_KILL = 3 };

struct mapping {
  void *at;
  size_t bytes;
};

static void *map(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

static uint32_t u32(const char *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

/*
 * request: u32 bytes that follow; u32 id; token; u32 argc; u32 envc; cwd, arguments, environment, each with
 * its NUL. The id comes back even from a body that does not parse. argc 0: a spare guard is wanted.
 */
enum { HEAD_BYTES = 4 + TOKEN_BYTES + 4 + 4 };
static uint32_t id_of(const char *body) { return u32(body); }
static const unsigned char *token_of(const char *body) { return (const unsigned char *)body + 4; }
static uint32_t argc_of(const char *body) { return u32(body + 4 + TOKEN_BYTES); }
static uint32_t envc_of(const char *body) { return u32(body + 8 + TOKEN_BYTES); }
static int well_formed(const char *body, uint32_t bytes) {
  return body[bytes - 1] == 0 && argc_of(body) <= bytes && envc_of(body) <= bytes;
}

/* Points `r` into `body`; the pointer arrays get their own mapping, `scratch`. Returns an errno, 0 when it is done. */
static int parse_request(char *body, uint32_t bytes, struct request *r, struct mapping *scratch) {
  uint32_t argc = argc_of(body), envc = envc_of(body);
  if (argc == 0) return EINVAL;
  scratch->bytes = (argc + envc + 2) * sizeof(char *) + bytes + PATH_MAX;
  scratch->at = map(scratch->bytes);
  if (scratch->at == NULL) return ENOMEM;
  r->argv = (char **)scratch->at;
  r->envp = r->argv + argc + 1;
  /* Longer than any PATH entry and the name together: both are part of the request, or the built-in PATH. */
  r->candidate = (char *)(r->envp + envc + 1);
  char *at = body + HEAD_BYTES, *end = body + bytes;
  r->cwd = at;
  at += strlen(at) + 1;
  for (uint32_t i = 0; i < argc + envc; i++) {
    if (at >= end) return EINVAL;
    if (i < argc) r->argv[i] = at;
    else r->envp[i - argc] = at;
    at += strlen(at) + 1;
  }
  return 0;
}

struct session {
  uint32_t id;
  int commands;
  int stdio[3];
  char path[PATH_MAX]; /* of the fifo */
};

/* False: it failed, was told of, and nothing of it is left but descriptors. */
static int join_runtime(struct session *s, uint32_t id, const unsigned char *token) {
  s->id = id;
#ifdef __linux__
  prctl(PR_SET_CHILD_SUBREAPER, 1);
#endif
  s->commands = open_commands(id, s->path, sizeof s->path);
  int failed = s->commands < 0;
  for (int i = 0; i < 3 && !failed; i++) {
    s->stdio[i] = connect_back(token, (char)('0' + i));
    failed = s->stdio[i] < 0;
  }
  if (!failed) return 1;
  emit(id, EVENT_FAILED, errno, STEP_CONNECT);
  unlink(s->path);
  return 0;
}

/* From here to its end. `request` are the mappings that `r` points into; they go back to the system once the command runs. */
static void guard_session(struct session *s, const struct request *r, const struct mapping request[2]) {
  uint32_t id = s->id;
  int *stdio = s->stdio, commands = s->commands;
  const char *path = s->path;
#ifdef __linux__
  prctl(PR_SET_NAME, "creche-session");
#endif
  pid_t leader = start_command(r, stdio);
  if (leader < 0 || failed_step != 0) {
    if (leader < 0) emit(id, EVENT_FAILED, errno, STEP_FORK);
    else emit(id, EVENT_FAILED, failed_errno, failed_step);
    unlink(path);
    return;
  }
  /* The streams are the command's alone from here: end of file on them must not wait for us. */
  for (int i = 0; i < 3; i++) close(stdio[i]);
  emit(id, EVENT_SPAWNED, leader, getpid());
  for (int i = 0; i < 2; i++) munmap(request[i].at, request[i].bytes);
#ifdef __linux__
  unsigned long long started = 0;
  pid_t parent;
  if (process_stat(leader, &parent, &started)) emit(id, EVENT_STARTED, (int32_t)(uint32_t)started, (int32_t)(uint32_t)(started >> 32));
#endif

  int gone = 0, ready = 0, end = 0;
  struct event how;
  while (!end) {
    wait_for(commands, -1, &ready, &gone);
    if (gone) break;
    if (ready) {
      struct command c;
      while (!end && read(commands, &c, sizeof c) == (ssize_t)sizeof c) {
        if (c.type == COMMAND_KILL) end = 1;
        /* The leader is unreaped as long as we are in this loop: neither number can be somebody else's. */
        else if (c.type == COMMAND_GROUP) {
          /* A leader that moved to a group of its own choice leaves this one empty. */
          if (kill(-leader, c.signal) < 0) kill(leader, c.signal);
        }
        else if (c.type == COMMAND_LEADER) kill(leader, c.signal);
      }
    }
    if (has_exited(id, leader, &how)) end = 1;
    else if (!end) reap_strays(leader);
  }
  /* A session's tree ends with its leader, by command, or with the runtime: no grace here, that was the runtime's to give. */
  unlink(path);
  close(commands);
  end_tree(id, leader);
}

static int read_whole(int fd, void *into, size_t bytes) {
  for (size_t held = 0; held < bytes;) {
    ssize_t n = read(fd, (char *)into + held, bytes - held);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 0;
    held += (size_t)n;
  }
  return 1;
}

/*
 * Waits for its command (`timeout` NULL: for ever). False: the runtime wants it no more: it closed a stream, or is gone.
 * Nothing but the request ever comes in before the command runs: what is readable on the two others is their end.
 */
static int is_wanted(const struct session *s, const struct timespec *timeout) {
  for (;;) {
    fd_set set;
    FD_ZERO(&set);
    int top = LIVENESS;
    FD_SET(LIVENESS, &set);
    for (int i = 0; i < 3; i++) {
      FD_SET(s->stdio[i], &set);
      if (s->stdio[i] > top) top = s->stdio[i];
    }
    int n = pselect(top + 1, &set, NULL, NULL, timeout, &unblocked);
    if (n == 0) return 1;
    if (n < 0) continue;
    return !FD_ISSET(LIVENESS, &set) && !FD_ISSET(s->stdio[1], &set) && !FD_ISSET(s->stdio[2], &set);
  }
}

/* A guard in advance: all that a start needs but the command. It serves one, or none. */
static void guard_in_advance(uint32_t id, const unsigned char *token) {
  struct session s;
  struct request r;
  struct mapping request[2];
  uint32_t bytes;
#ifdef __linux__
  prctl(PR_SET_NAME, "creche-spare");
#endif
  if (!join_runtime(&s, id, token)) return;
  if (is_wanted(&s, NULL) && read_whole(s.stdio[0], &bytes, sizeof bytes) && bytes >= HEAD_BYTES + 2) {
    char *body = map(bytes);
    if (body == NULL) emit(id, EVENT_FAILED, ENOMEM, STEP_FORK);
    /* Whoever was stopped meanwhile must not start what was given up. */
    else if (read_whole(s.stdio[0], body, bytes) && is_wanted(&s, &(struct timespec){0, 0})) {
      request[0] = (struct mapping){body, bytes};
      int failure = well_formed(body, bytes) ? parse_request(body, bytes, &r, &request[1]) : EINVAL;
      if (failure == 0) {
        guard_session(&s, &r, request);
        return;
      }
      emit(id, EVENT_FAILED, failure, STEP_FORK);
    }
  }
  /* Where a request was on its way, the runtime hears that nothing came of it. */
  emit(id, EVENT_CLOSED, 0, 0);
  unlink(s.path);
}

/* ---- the server ------------------------------------------------------------------------------------ */

struct guard {
  pid_t pid;
  uint32_t id;
};
static struct guard *guards;
static size_t guard_count, guard_room;
/* Sessions whose guard was killed: their orphans came to the server, which is a subreaper as well. */
static uint32_t *lost;
static size_t lost_count, lost_room;

static int make_room(void **array, size_t *room, size_t count, size_t size) {
  if (count < *room) return 1;
  size_t wanted = *room == 0 ? 64 : *room * 2;
  void *grown = realloc(*array, wanted * size);
  if (grown == NULL) return 0;
  *array = grown;
  *room = wanted;
  return 1;
}

static void reap_guards(void) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
    for (size_t i = 0; i < guard_count; i++)
      if (guards[i].pid == pid) {
        uint32_t id = guards[i].id;
        guards[i] = guards[--guard_count];
        if (WIFSIGNALED(status) && make_room((void **)&lost, &lost_room, lost_count, sizeof *lost)) {
          lost[lost_count++] = id;
          emit(id, EVENT_LOST, 0, 0);
        }
        break;
      }
}

static void kill_if_stray(pid_t pid, void *context) {
  for (size_t i = 0; i < guard_count; i++)
    if (guards[i].pid == pid) return;
  kill(pid, SIGKILL);
  ++*(int *)context;
}

/* True while orphans of a killed guard are left. */
static int end_strays(void) {
  if (lost_count == 0) return 0;
  int strays = 0;
  each_child(getpid(), kill_if_stray, &strays);
  if (strays > 0) return 1;
  char path[PATH_MAX];
  for (size_t i = 0; i < lost_count; i++) {
    snprintf(path, sizeof path, "%s/%u", directory, lost[i]);
    unlink(path);
    emit(lost[i], EVENT_CLOSED, 0, 0);
  }
  lost_count = 0;
  return 0;
}

static void serve_request(char *body, uint32_t bytes, struct mapping buffer) {
  uint32_t id = id_of(body);
  if (!well_formed(body, bytes)) {
    emit(id, EVENT_FAILED, EINVAL, STEP_FORK);
    return;
  }
  if (!make_room((void **)&guards, &guard_room, guard_count, sizeof *guards)) {
    emit(id, EVENT_FAILED, ENOMEM, STEP_FORK);
    return;
  }
  pid_t pid = fork();
  if (pid < 0) {
    emit(id, EVENT_FAILED, errno, STEP_FORK);
    return;
  }
  if (pid > 0) {
    guards[guard_count++] = (struct guard){pid, id};
    return;
  }
  /* The guard. */
  close(REQUESTS);
  unsigned char token[TOKEN_BYTES];
  memcpy(token, token_of(body), sizeof token);
  if (argc_of(body) == 0) {
    munmap(buffer.at, buffer.bytes);
    guard_in_advance(id, token);
    _exit(0);
  }
  struct session s;
  struct request r;
  struct mapping scratch;
  int failure = parse_request(body, bytes, &r, &scratch);
  if (failure != 0) emit(id, EVENT_FAILED, failure, STEP_FORK);
  else if (join_runtime(&s, id, token)) guard_session(&s, &r, (struct mapping[2]){buffer, scratch});
  _exit(0);
}

static int serve(void) {
  const size_t usual = 256 * 1024;
  size_t room = usual, held = 0;
  char *buffer = map(room);
  if (buffer == NULL) return 1;
  int gone = 0, ready = 0;
#ifdef __linux__
  int subreaper = prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
#else
  int subreaper = 0;
#endif
  emit(0, EVENT_HELLO, PROTOCOL, subreaper);
  for (;;) {
    int strays = end_strays();
    /* The runtime is gone: the guards end their trees by themselves. Stay to reap them, then clean up. */
    if (gone && guard_count == 0 && !strays) break;
    wait_for(gone ? -1 : REQUESTS, strays ? 10 : -1, &ready, &gone);
    reap_guards();
    if (!ready || gone) continue;
    ssize_t n = read(REQUESTS, buffer + held, room - held);
    if (n == 0) gone = 1;
    if (n <= 0) continue;
    held += (size_t)n;
    size_t used = 0;
    while (held - used >= 4) {
      uint32_t bytes = u32(buffer + used);
      if (bytes < HEAD_BYTES + 2) return 1; /* not our runtime's bytes; a new server starts clean */
      if (held - used < 4 + (size_t)bytes) break;
      serve_request(buffer + used + 4, bytes, (struct mapping){buffer, room});
      used += 4 + bytes;
    }
    held -= used;
    memmove(buffer, buffer + used, held);
    size_t wanted = held >= 4 ? 4 + (size_t)u32(buffer) : 0;
    if (wanted < usual) wanted = usual;
    if (wanted > room || (wanted < room && held <= wanted)) {
      char *other = map(wanted);
      if (other == NULL) return 1;
      memcpy(other, buffer, held);
      munmap(buffer, room);
      buffer = other;
      room = wanted;
    }
  }
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/s", directory);
  unlink(path);
  rmdir(directory);
  return 0;
}

/* Nothing that the runtime happened to inherit may reach a command: it sees 0, 1, 2 and no other descriptor. */
static void close_inherited(void) {
#if defined(__linux__) && defined(SYS_close_range)
  if (syscall(SYS_close_range, REQUESTS + 1, ~0U, 0) == 0) return;
#endif
  long top = sysconf(_SC_OPEN_MAX);
  if (top < 0 || top > 65536) top = 65536;
  for (int fd = REQUESTS + 1; fd < top; fd++) close(fd);
}

/*
 * A group of its own, so that a terminal's Ctrl-C reaches each command through the runtime alone; no controlling
 * terminal, so that a command that asks for a password on /dev/tty fails instead of hanging. But the runtime's session:
 * Linux schedules by session (autogroup), and a command in another one would wait for its turn at every answer on a
 * busy machine, where a child of the runtime's own would not.
 */
static void leave_terminal(void) {
  setpgid(0, 0);
  int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (tty < 0) return;
  ioctl(tty, TIOCNOTTY);
  close(tty);
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("creche guard %s protocol %d\n", VERSION, PROTOCOL);
    return 0;
  }
  if (argc != 3 || strcmp(argv[1], "--serve") != 0) {
    fprintf(stderr, "usage: guard --version | guard --serve DIRECTORY (descriptors 3, 4 and 5 from the runtime)\n");
    return 2;
  }
  for (int fd = EVENTS; fd <= REQUESTS; fd++)
    if (fcntl(fd, F_GETFD) < 0) {
      fprintf(stderr, "guard: descriptors 3, 4 and 5 must be open\n");
      return 2;
    }
  directory = argv[2];
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return 2;
  for (int fd = EVENTS; fd <= REQUESTS; fd++) close_on_exec(fd);
  close_inherited();
  own_signals();
  leave_terminal();
  return serve();
}
