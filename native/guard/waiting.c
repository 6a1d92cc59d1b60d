/* Waiting for a descriptor, a child, the end of the runtime or a moment, without missing one; and the signals meanwhile. */
#include "guard.h"

int liveness = LIVENESS;
sigset_t unblocked;

int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void wait_for(int fd, int timeout_ms, int *fd_ready, int *runtime_gone) {
  fd_set set;
  FD_ZERO(&set);
  int top = -1;
  if (fd >= 0) FD_SET(fd, &set), top = fd;
  if (!*runtime_gone) {
    FD_SET(liveness, &set);
    if (liveness > top) top = liveness;
  }
  struct timespec t = {timeout_ms / 1000, (timeout_ms % 1000) * 1000000L};
  int n = pselect(top + 1, &set, NULL, NULL, timeout_ms < 0 ? NULL : &t, &unblocked);
  *fd_ready = n > 0 && fd >= 0 && FD_ISSET(fd, &set);
  /* Nothing is ever written to the liveness: readable is end of file. */
  if (n > 0 && !*runtime_gone && FD_ISSET(liveness, &set)) *runtime_gone = 1;
}

static void on_child(int sig) { (void)sig; }

void set_handler(int sig, void (*handler)(int)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = handler;
  sigemptyset(&action.sa_mask);
  sigaction(sig, &action, NULL);
}

/* Signals that the server and its guards ignore, so that a stray one cannot take the containment away. */
static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTIN, SIGTTOU, SIGALRM};

void own_signals(void) {
  sigset_t block;
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) set_handler(ignored[i], SIG_IGN);
  set_handler(SIGCHLD, on_child);
  sigemptyset(&block);
  sigaddset(&block, SIGCHLD);
  sigprocmask(SIG_SETMASK, &block, NULL);
  sigemptyset(&unblocked);
}

void restore_signals(void) {
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) set_handler(ignored[i], SIG_DFL);
  set_handler(SIGCHLD, SIG_DFL);
  sigprocmask(SIG_SETMASK, &unblocked, NULL);
}

int close_on_exec(int fd) {
  if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

void close_between(int first, int last) {
  if (last < first) return;
#if defined(__linux__) && defined(SYS_close_range)
  if (syscall(SYS_close_range, first, last, 0) == 0) return;
#endif
  long top = sysconf(_SC_OPEN_MAX);
  if (top < 0 || top > 65536) top = 65536;
  for (int fd = first; fd < top && fd <= last; fd++) close(fd);
}

void close_from(int first) { close_between(first, INT_MAX); }
