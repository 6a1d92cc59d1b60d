/*
 * The spawn server: forks a session guard for each request, reaps them, and ends the trees of those that were killed.
 *
 *   guard --serve DIRECTORY     descriptors 3: events, 4: liveness, 5: requests; DIRECTORY is private (0700)
 *
 *   events    socket pair. It outlives the server: guards hold it too. The runtime never writes to it: a write that
 *             found nobody would make its end forget the events that it has not read.
 *   requests  socket pair, read by the server alone.
 *   liveness  socket pair, never written to. Its other end is held by the runtime and nobody else, so end of
 *             file means that the runtime is gone. It is a level, not an edge: a guard forked a moment after
 *             the runtime died sees it as well.
 *   DIRECTORY/s     the runtime's listening socket. A guard connects three times: stdin, stdout, stderr.
 *                   A spare guard is forked and connects before there is a command for it; the command then comes
 *                   as a request over its stdin, and the server has no part in it.
 *   DIRECTORY/ID    a fifo per session, for commands to its guard. It works without the server, and opening
 *                   it for writing fails at once when the guard is gone.
 */
#include "guard.h"

struct guard {
  pid_t pid;
  uint32_t id;
};
static struct guard *guards;
static size_t guard_count, guard_room;
/* Sessions whose guard was killed: their orphans came to the server, which is a subreaper as well. */
static uint32_t *lost;
static size_t lost_count, lost_room;

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

/* One that somebody has stopped, its own command perhaps, does not answer and ends nothing. */
static void continue_guards(void) {
  for (size_t i = 0; i < guard_count; i++) kill(guards[i].pid, SIGCONT);
}

static void serve_request(char *body, uint32_t bytes, struct mapping buffer) {
  uint32_t id = id_of(body);
  if (id == 0) {
    continue_guards();
    return;
  }
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

static int serve_requests(void) {
  const size_t usual = 256 * 1024;
  size_t room = usual, held = 0;
  char *buffer = map(room);
  if (buffer == NULL) return 1;
  int gone = 0, ready = 0, continued = 0;
  emit(0, EVENT_HELLO, PROTOCOL, adopt_orphans());
  probe_levels();
  for (;;) {
    int strays = end_strays();
    /* The runtime is gone: the guards end their trees by themselves. Stay to reap them, then clean up. */
    if (gone && guard_count == 0 && !strays) break;
    if (gone && !continued) continue_guards();
    continued = gone;
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

int serve(int argc, char **argv) {
  if (argc != 1) return -1;
  for (int fd = EVENTS; fd <= REQUESTS; fd++)
    if (fcntl(fd, F_GETFD) < 0) {
      fprintf(stderr, "guard: descriptors 3, 4 and 5 must be open\n");
      return 2;
    }
  directory = argv[0];
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return 2;
  for (int fd = EVENTS; fd <= REQUESTS; fd++) close_on_exec(fd);
  /* Nothing that the runtime happened to inherit may reach a command: it sees 0, 1, 2 and no other descriptor. */
  close_from(REQUESTS + 1);
  own_signals();
  leave_terminal();
  return serve_requests();
}
