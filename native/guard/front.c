/*
 * The front of `guard --run`: the process that the caller started and waits for. It passes his signals on to the command, shows
 * him its stops, and ends as it ended. The tree is not its business as long as the keeper lives.
 */
#include "guard.h"

#ifdef __linux__
#include <poll.h>
#include <sys/signalfd.h>

/* Where there is no pidfd (Linux before 5.3, or a filter of system calls), how often the caller is looked for. */
enum { LOOK_MS = 200 };

/* Whether the sender belongs to the tree that we hold: what it sends to its group reaches us too, and must not come back. */
static int is_within(pid_t pid, pid_t keeper) {
  struct process p;
  for (int depth = 0; pid > 1 && depth < 64; depth++) {
    if (pid == keeper) return 1;
    if (!process_stat(pid, &p)) return 0;
    pid = p.parent;
  }
  return 0;
}

static int comes_from_terminal(const struct signalfd_siginfo *s) {
  switch (s->ssi_signo) {
    case SIGINT:
    case SIGQUIT:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGWINCH:
      return s->ssi_code == SI_KERNEL;
    default:
      return 0;
  }
}

static void pass_on(const struct run *r, int keeper_fd, pid_t keeper, const struct signalfd_siginfo *s) {
  /* The terminal has sent it to the whole group, the command among it. */
  /* Who goes on with a job goes on with all of it; where only we are meant, see NOTE_STOPPED. */
  if (r->in_terminal && s->ssi_signo == SIGCONT) return;
  if (r->in_terminal && (comes_from_terminal(s) || (s->ssi_code == SI_USER && is_within((pid_t)s->ssi_pid, keeper)))) return;
  int32_t sig = r->rewrite[s->ssi_signo];
  if (sig > 0) send(keeper_fd, &sig, sizeof sig, MSG_NOSIGNAL);
  /* Somebody may have stopped it. */
  if (sig == SIGKILL) kill(keeper, SIGCONT);
}

void report_failure(const struct run *r, int error) {
  struct {
    int32_t pid;
    int32_t error;
  } line = {getpid(), error};
  if (r->report >= 0 && write(r->report, &line, sizeof line) == (ssize_t)sizeof line) return;
  dprintf(2, "creche guard: cannot run \"%s\": %s\n", r->command[0], strerror(error));
}

/* Ends as the command did: by its exit code, or by the same signal, without a core of our own. */
static int end_as(int code, int status) {
  if (code == CLD_EXITED) return status;
  /* The first process of a namespace cannot be ended by a signal of its own. */
  if (getpid() != 1) {
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, status);
    prctl(PR_SET_DUMPABLE, 0);
    set_handler(status, SIG_DFL);
    kill(getpid(), status);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
  }
  return 128 + status;
}

static void nothing(void *context, const siginfo_t *how) { (void)context, (void)how; }
static void nobody(void *context, pid_t pid) { (void)context, (void)pid; }
static void done(void *context, uint32_t survivors, const siginfo_t *how) {
  (void)context, (void)how;
  /* What cannot be killed is not waited for: it has had its patience. */
  if (survivors > 0) _exit(end_as(CLD_KILLED, SIGKILL));
}

/* Somebody killed the keeper: what it held has come to us. */
static int end_instead_of_keeper(pid_t leader) {
  own_signals();
  siginfo_t how;
  if (leader > 0 && waitid(P_PID, (id_t)leader, &how, WEXITED | WNOHANG | WNOWAIT) == 0) end_tree(leader, "", &(struct witness){NULL, nothing, nobody, done});
  else end_orphans();
  return end_as(CLD_KILLED, SIGKILL);
}

int stand_in_front(const struct run *r, int keeper_fd, int signals_fd, pid_t keeper) {
  pid_t leader = 0;
  for (;;) {
    struct pollfd fds[2] = {{keeper_fd, POLLIN, 0}, {signals_fd, POLLIN, 0}};
    poll(fds, 2, r->look ? LOOK_MS : -1);
    if (fds[1].revents != 0) {
      struct signalfd_siginfo s;
      while (read(signals_fd, &s, sizeof s) == (ssize_t)sizeof s) {
        if (s.ssi_signo != SIGCHLD) pass_on(r, keeper_fd, keeper, &s);
        /* As PID 1 we are given orphans that are nobody's. The keeper is left for the end: its number must stay its own. */
        else reap_strays(keeper);
      }
    }
    if (r->look && getppid() != r->caller) {
      int32_t gone = CALLER_GONE;
      send(keeper_fd, &gone, sizeof gone, MSG_NOSIGNAL);
    }
    if (fds[0].revents == 0) continue;
    struct note note;
    ssize_t n = read(keeper_fd, &note, sizeof note);
    /* A signal that the keeper did not live to read makes our end say so, once, before it gives what the keeper had sent. */
    if (n < 0 && (errno == EINTR || errno == ECONNRESET)) continue;
    if (n != (ssize_t)sizeof note) return end_instead_of_keeper(leader);
    switch (note.type) {
      case NOTE_STARTED:
        leader = note.a;
        /* It is the command's alone from here, so that whoever reads its other end learns when it closes it. */
        close(2);
        break;
      case NOTE_FAILED:
        report_failure(r, note.a);
        waitpid(keeper, NULL, 0);
        return note.a == ENOENT ? NOT_FOUND : note.b == STEP_EXEC ? CANNOT_RUN : CANNOT_GUARD;
      case NOTE_STOPPED:
        /* The shell that waits for us shall see it, and take its terminal back. */
        kill(getpid(), SIGSTOP);
        /* Somebody goes on with us. This stop of the command's is over, then; a later one, of another Ctrl-Z, is not. */
        send(keeper_fd, &(int32_t){CONTINUED - note.b}, sizeof(int32_t), MSG_NOSIGNAL);
        break;
      case NOTE_ENDED:
        if (note.survivors == 0) waitpid(keeper, NULL, 0);
        return end_as(note.a, note.b);
    }
  }
}
#endif
