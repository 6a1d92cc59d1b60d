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

void guard_session(struct session *s, const struct request *r, const struct mapping request[2]) {
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
  siginfo_t how;
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
    if (has_exited(leader, &how)) end = 1;
    else if (!end) reap_strays(leader);
  }
  /* A session's tree ends with its leader, by command, or with the runtime: no grace here, that was the runtime's to give. */
  unlink(path);
  close(commands);
  end_tree(leader, &(struct witness){&id, tell_exited, tell_survivor, tell_closed});
}
