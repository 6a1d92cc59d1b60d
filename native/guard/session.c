/*
 * The session guard: starts one command, holds its tree, carries out what the runtime says over the fifo, and ends
 * the tree when the command has ended, when it is told to, or when the runtime is gone.
 */
#include "guard.h"

const char *directory;

struct command {
  uint32_t type;
  int32_t signal;
};
enum { COMMAND_GROUP = 1, COMMAND_LEADER = 2, COMMAND_KILL = 3 };

static struct event exit_event(uint32_t id, const siginfo_t *how) {
  return (struct event){id, how->si_code == CLD_EXITED ? EVENT_EXITED : EVENT_SIGNALED, how->si_status, 0};
}

static void tell_exited(void *id, const siginfo_t *how) {
  struct event event = exit_event(*(uint32_t *)id, how);
  emit_events(&event, 1);
}

static void tell_survivor(void *id, pid_t pid) { emit(*(uint32_t *)id, EVENT_SURVIVOR, pid, 0); }

static void tell_closed(void *id, uint32_t survivors, const siginfo_t *how) {
  struct event last[2];
  size_t count = 0;
  if (how != NULL) last[count++] = exit_event(*(uint32_t *)id, how);
  last[count++] = (struct event){*(uint32_t *)id, EVENT_CLOSED, (int32_t)survivors, 0};
  emit_events(last, count);
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

int join_runtime(struct session *s, uint32_t id, const unsigned char *token) {
  s->id = id;
  adopt_orphans();
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

/* Namespaces or a cgroup, as the level wants it. False: it failed and was told of. */
static int prepare_level(struct session *s, const struct request *r, struct limits *watched) {
  *watched = r->limits;
  s->cgroup[0] = 0;
  int failure = 0;
  enum step step = STEP_NAMESPACE;
  if (r->level == LEVEL_NAMESPACE) failure = enter_namespace();
  if (r->level == LEVEL_CGROUP) {
    step = STEP_CGROUP;
    failure = strlen(r->cgroup) < sizeof s->cgroup ? make_cgroup(r->cgroup, &r->limits, watched) : ENAMETOOLONG;
    if (failure == 0) strcpy(s->cgroup, r->cgroup);
  }
  if (failure != 0) emit(s->id, EVENT_FAILED, failure, step);
  return failure == 0;
}

/* Not at once: the command is about to say its first word, and a machine may have one processor. */
enum { FIRST_LOOK_MS = 10 };

static void carry_out(const struct command *c, pid_t leader) {
  /* The leader is unreaped as long as its session is guarded: neither number can be somebody else's. */
  if (c->type == COMMAND_LEADER) kill(leader, c->signal);
  /* A leader that moved to a group of its own choice leaves this one empty. */
  else if (c->type == COMMAND_GROUP && kill(-leader, c->signal) < 0) kill(leader, c->signal);
}

/* Until the tree shall end: its leader did, the runtime says so or is gone, or it took more than it may. */
static struct usage hold_tree(int commands, pid_t leader, const struct limits *watched) {
  int gone = 0, ready = 0, next_ms = watched->processes > 0 || watched->memory_kib > 0 ? FIRST_LOOK_MS : -1;
  int64_t look_at = next_ms < 0 ? INT64_MAX : now_ms() + next_ms;
  siginfo_t how;
  for (;;) {
    int64_t left = look_at - now_ms();
    wait_for(commands, next_ms < 0 ? -1 : left > 0 ? (int)left : 0, &ready, &gone);
    if (gone) break;
    struct command c;
    while (ready && read(commands, &c, sizeof c) == (ssize_t)sizeof c) {
      if (c.type == COMMAND_KILL) return (struct usage){LIMIT_NONE, 0};
      carry_out(&c, leader);
    }
    if (has_exited(leader, &how)) break;
    reap_strays(leader);
    if (next_ms < 0 || now_ms() < look_at) continue;
    struct usage usage = watch_tree(watched, &next_ms);
    if (usage.over != LIMIT_NONE) return usage;
    look_at = now_ms() + next_ms;
  }
  return (struct usage){LIMIT_NONE, 0};
}

/* Among hundreds of processes that want the processor: where the user may, which is root. */
static void hurry(void) { setpriority(PRIO_PROCESS, 0, -20); }

void guard_session(struct session *s, const struct request *r, const struct mapping request[2]) {
  uint32_t id = s->id;
  struct limits limits = r->limits, watched;
#ifdef __linux__
  prctl(PR_SET_NAME, "creche-session");
#endif
  if (!prepare_level(s, r, &watched)) {
    unlink(s->path);
    return;
  }
  pid_t leader = start_command(r, s->stdio);
  if (leader < 0 || failed_step != 0) {
    if (leader < 0) emit(id, EVENT_FAILED, errno, STEP_FORK);
    else emit(id, EVENT_FAILED, failed_errno, failed_step);
    /* Not before it has left the cgroup. */
    if (leader > 0) waitpid(leader, NULL, 0);
    remove_cgroup(s->cgroup);
    unlink(s->path);
    return;
  }
  /* The streams are the command's alone from here: end of file on them must not wait for us. */
  for (int i = 0; i < 3; i++) close(s->stdio[i]);
  emit(id, EVENT_SPAWNED, leader, getpid());
  for (int i = 0; i < 2; i++) munmap(request[i].at, request[i].bytes);
  struct process process;
  if (process_stat(leader, &process))
    emit(id, EVENT_STARTED, (int32_t)(uint32_t)process.started, (int32_t)(uint32_t)(process.started >> 32));

  if (watched.processes > 0) hurry();
  struct usage usage = hold_tree(s->commands, leader, &watched);
  if (usage.over == LIMIT_NONE) usage = look_at_cgroup(s->cgroup, &limits);
  if (usage.over != LIMIT_NONE) hurry();
  if (usage.over != LIMIT_NONE) emit(id, EVENT_LIMIT, (int32_t)usage.over, (int32_t)usage.amount);
  /* A session's tree ends with its leader, by command, or with the runtime: no grace here, that was the runtime's to give. */
  unlink(s->path);
  close(s->commands);
  end_tree(leader, s->cgroup, &(struct witness){&id, tell_exited, tell_survivor, tell_closed});
}
