/*
 * The keeper of `guard --run`: parent of the command and subreaper of all that comes of it. It hears from the front (run.c)
 * which signals to deliver, and ends the tree when the command has ended, when the caller is gone, or when the front is.
 */
#include "guard.h"

#ifdef __linux__
#include <grp.h>
#include <poll.h>

/* How often what a killed guard left is looked for, until nothing is. */
enum { LOST_MS = 10 };

struct failure {
  int32_t error;
  int32_t step;
};

static void fail(int fd, int step) {
  struct failure failure = {errno, step};
  send(fd, &failure, sizeof failure, MSG_NOSIGNAL);
  _exit(127);
}

/* In the child. Everything else is as the caller left it: descriptors, directory, environment, session, terminal. */
static void become_guarded(const struct run *r, int fd, pid_t keeper) {
  char go;
  /* In a terminal the command stands in its caller's job. Elsewhere signals for that group reach it through the front, once. */
  if (!r->in_terminal) setpgid(0, 0);
  /* Not before the keeper has left the group: until then one blow could take both, and what we start meanwhile stay. */
  if (read(fd, &go, 1) != 1) _exit(127);
  /* Nor before its word is read: a socket that is closed with something unread in it loses what we say of a failure. */
  if (r->gid >= 0 || r->uid >= 0) setgroups(0, NULL);
  if (r->gid >= 0 && setgid((gid_t)r->gid) < 0) fail(fd, STEP_FORK);
  if (r->uid >= 0 && setuid((uid_t)r->uid) < 0) fail(fd, STEP_FORK);
  /* Should somebody kill keeper and front together, at least the command goes with them. */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != keeper) _exit(127);
  if (r->child_ignored) signal(SIGCHLD, SIG_IGN);
  sigprocmask(SIG_SETMASK, &r->mask, NULL);
  const char *file = r->command[0];
  if (r->argv0 != NULL) r->command[0] = (char *)r->argv0;
  execvp(file, r->command);
  fail(fd, STEP_EXEC);
}

struct asking {
  pid_t group; /* 0: everybody */
  int signal;
  int depth;
};

static void ask_below(pid_t pid, void *context) {
  struct asking asking = *(struct asking *)context;
  if (asking.group == 0 || getpgid(pid) == asking.group) kill(pid, asking.signal);
  if (--asking.depth > 0) each_child(pid, ask_below, &asking);
}

static void count_strays(pid_t pid, void *context) {
  pid_t *counted = context;
  if (pid != counted[0] && waitpid(pid, NULL, WNOHANG) != pid) counted[1]++;
}

/* Reaps those that are dead: the leader is left for the end, and waitid would speak of him alone. */
static int has_strays(pid_t leader) {
  pid_t counted[2] = {leader, 0};
  each_child(getpid(), count_strays, counted);
  return counted[1] > 0;
}

/*
 * Over a runtime: guards come to us when their spawn server was killed, and go on with their work. A guard that is then killed
 * itself leaves its tree to us, and nobody else will end it; that one was killed shows in how it ended.
 */
static int is_guard(pid_t pid) {
  char path[64], name[32];
  snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
  if (fd >= 0) close(fd);
  if (n <= 0) return 0;
  name[n] = 0;
  return strncmp(name, "creche-", 7) == 0 || strcmp(name, "guard\n") == 0;
}

/* As reap_strays; whether a guard was among them that did not end by itself. */
static int reap_guards(pid_t leader) {
  int killed = 0;
  for (;;) {
    siginfo_t how;
    memset(&how, 0, sizeof how);
    if (waitid(P_ALL, 0, &how, WEXITED | WNOHANG | WNOWAIT) < 0 || how.si_pid == 0 || how.si_pid == leader) return killed;
    if (how.si_code != CLD_EXITED && is_guard(how.si_pid)) killed = 1;
    waitpid(how.si_pid, NULL, WNOHANG);
  }
}

static void kill_unless_guard(pid_t pid, void *context) {
  pid_t *counted = context;
  if (pid == counted[0] || is_guard(pid)) return;
  kill(pid, SIGKILL);
  counted[1]++;
}

/* True while something of such a tree is there. */
static int end_lost_trees(pid_t leader) {
  pid_t counted[2] = {leader, 0};
  each_child(getpid(), kill_unless_guard, counted);
  return counted[1] > 0;
}

struct ending {
  int front;
  siginfo_t how;
};

static void on_exited(void *context, const siginfo_t *how) { ((struct ending *)context)->how = *how; }
static void on_survivor(void *context, pid_t pid) { (void)context, (void)pid; }
static void on_closed(void *context, uint32_t survivors, const siginfo_t *how) {
  struct ending *ending = context;
  if (how != NULL) ending->how = *how;
  /* A leader that outlived its SIGKILL has no end of its own yet. */
  int ended = ending->how.si_pid != 0;
  struct note note = {NOTE_ENDED, ended ? ending->how.si_code : CLD_KILLED, ended ? ending->how.si_status : SIGKILL, survivors};
  send(ending->front, &note, sizeof note, MSG_NOSIGNAL);
}

static void deliver(const struct run *r, pid_t leader, int sig) {
  if (!r->to_group) kill(leader, sig);
  else if (!r->in_terminal) kill(-leader, sig);
  /* Not to the group itself: the front is in it, and would pass it on again. */
  else ask_below(leader, &(struct asking){getpgid(leader), sig, 64});
}

static struct {
  int32_t number; /* how many there were */
  int now;
} stops;

/* The front shows the command's stops to the shell that waits for it; when the command goes on, so does the front. */
static void look_at_stops(const struct run *r, pid_t leader, pid_t front_pid, int front) {
  siginfo_t how;
  memset(&how, 0, sizeof how);
  while (waitid(P_PID, (id_t)leader, &how, WSTOPPED | WCONTINUED | WNOHANG) == 0 && how.si_pid == leader) {
    stops.now = how.si_code == CLD_STOPPED;
    stops.number += stops.now;
    if (r->in_terminal && stops.now) send(front, &(struct note){NOTE_STOPPED, how.si_status, stops.number, 0}, sizeof(struct note), MSG_NOSIGNAL);
    else if (r->in_terminal && getppid() == front_pid) kill(front_pid, SIGCONT);
    memset(&how, 0, sizeof how);
  }
}

void keep(const struct run *r, int front) {
  pid_t front_pid = getppid(), self = getpid();
  int start[2];
  prctl(PR_SET_NAME, "creche-keeper");
  adopt_orphans();
  pid_t leader = open_pair(start) ? fork() : -1;
  if (leader < 0) {
    send(front, &(struct note){NOTE_FAILED, errno, STEP_FORK, 0}, sizeof(struct note), MSG_NOSIGNAL);
    _exit(0);
  }
  if (leader == 0) {
    close(start[0]);
    become_guarded(r, start[1], self);
  }
  close(start[1]);
  /* Out of the group that a SIGKILL may be meant for. In a terminal also out of the session: see NOTE_STOPPED. */
  if (r->in_terminal) setsid();
  else setpgid(0, 0);
  own_signals();
  int starting = start[0], caller = r->caller_fd;
  keep_only((int[]){front, starting, caller}, 3);
  if (chdir("/") < 0) _exit(0);
  send(starting, "", 1, MSG_NOSIGNAL);

  int64_t deadline = -1;
  int asked_strays = 0, lost = 0;
  for (;;) {
    struct pollfd fds[3] = {{front, POLLIN, 0}, {caller, POLLIN, 0}, {starting, POLLIN, 0}};
    int64_t left = deadline < 0 ? 0 : deadline - now_ms();
    if (deadline >= 0 && left <= 0) break;
    if (lost && (deadline < 0 || left > LOST_MS)) left = LOST_MS;
    struct timespec t = {left / 1000, left % 1000 * 1000000};
    ppoll(fds, 3, deadline < 0 && !lost ? NULL : &t, &unblocked);
    siginfo_t how;
    int exited = has_exited(leader, &how);

    if (starting >= 0 && (fds[2].revents != 0 || exited)) {
      struct failure failure;
      int failed = read(starting, &failure, sizeof failure) == (ssize_t)sizeof failure;
      close(starting);
      starting = -1;
      if (failed) {
        waitpid(leader, NULL, 0);
        send(front, &(struct note){NOTE_FAILED, failure.error, failure.step, 0}, sizeof(struct note), MSG_NOSIGNAL);
        _exit(0);
      }
      send(front, &(struct note){NOTE_STARTED, leader, 0, 0}, sizeof(struct note), MSG_NOSIGNAL);
    }
    if (!exited) look_at_stops(r, leader, front_pid, front);
    int32_t order = 0;
    if (fds[0].revents != 0) {
      /* Whoever killed the front meant us all, and now. */
      if (read(front, &order, sizeof order) != (ssize_t)sizeof order) break;
      /* Whoever says SIGKILL means all of it, and no grace. */
      if (order == SIGKILL) break;
      if (order > 0 && !exited) deliver(r, leader, order);
      if (order == CONTINUED - stops.number && stops.now && !exited) kill(leader, SIGCONT);
    }
    if (fds[1].revents != 0) {
      caller = -1;
      order = CALLER_GONE;
    }
    if (order == CALLER_GONE && deadline < 0) {
      if (r->grace_ms == 0) break;
      deadline = now_ms() + r->grace_ms;
      if (!exited) deliver(r, leader, r->polite);
    }
    if (!exited) look_at_stops(r, leader, front_pid, front);
    if (!r->over_runtime) reap_strays(leader);
    else if (reap_guards(leader) || lost) lost = end_lost_trees(leader);
    if (!exited) continue;
    if (r->grace_ms == 0 || !has_strays(leader)) break;
    if (asked_strays++ == 0) {
      if (deadline < 0) deadline = now_ms() + r->grace_ms;
      each_child(self, ask_below, &(struct asking){0, r->polite, 64});
    }
  }
  if (r->in_terminal && getppid() == front_pid) kill(front_pid, SIGCONT);
  struct ending ending = {front, {0}};
  end_tree(leader, "", &(struct witness){&ending, on_exited, on_survivor, on_closed});
  _exit(0);
}
#endif
