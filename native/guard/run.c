/*
 * guard --run … -- COMMAND: one command for one caller, as tini or dumb-init would run it: options, and the two processes that
 * share the work. The front (front.c) has the pid that the caller knows and stands in his process group; the keeper (keeper.c)
 * stands outside of it and holds the tree. Either outlives the other for as long as it takes to end everything: a
 * SIGKILL for the front, for its whole group or for the keeper leaves nothing.
 */
#include "guard.h"

#ifdef __linux__
#include <sys/signalfd.h>

static const struct {
  const char *name;
  int number;
} signals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ABRT", SIGABRT}, {"KILL", SIGKILL},   {"USR1", SIGUSR1}, {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"CONT", SIGCONT}, {"STOP", SIGSTOP},   {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU}, {"URG", SIGURG},   {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
    {"IO", SIGIO},     {"PWR", SIGPWR},
};

static int complain(const char *what, const char *word) {
  fprintf(stderr, "creche guard: %s%s%s%s\n", what, word == NULL ? "" : ": \"", word == NULL ? "" : word, word == NULL ? "" : "\"");
  return USAGE;
}

/* A whole number of at most `most`; -1: it is none. */
static long number_of(const char *text, long most) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  return *text >= '0' && *text <= '9' && *end == 0 && errno == 0 && value <= most ? value : -1;
}

/* TERM, SIGTERM or 15, up to `end`; -1: there is no such signal. */
static int signal_of(const char *text, size_t length) {
  char name[16];
  if (length == 0 || length >= sizeof name) return -1;
  memcpy(name, text, length);
  name[length] = 0;
  long number = number_of(name, NSIG - 1);
  if (number >= 0) return (int)number;
  const char *bare = strncmp(name, "SIG", 3) == 0 ? name + 3 : name;
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
    if (strcmp(signals[i].name, bare) == 0) return signals[i].number;
  return -1;
}

/* 0: done; otherwise the exit code for a mistake that was explained. */
static int take_option(struct run *r, const char *name, const char *value) {
  if (strcmp(name, "grace-ms") == 0) {
    if ((r->grace_ms = number_of(value, INT_MAX)) < 0) return complain("--grace-ms wants milliseconds", value);
  } else if (strcmp(name, "signal") == 0) {
    if ((r->polite = signal_of(value, strlen(value))) <= 0) return complain("--signal names no signal", value);
  } else if (strcmp(name, "rewrite") == 0) {
    const char *colon = strchr(value, ':');
    int from = colon == NULL ? -1 : signal_of(value, (size_t)(colon - value));
    int to = colon == NULL ? -1 : signal_of(colon + 1, strlen(colon + 1));
    if (from <= 0 || to < 0) return complain("--rewrite wants two signals, FROM:TO, the second may be 0", value);
    r->rewrite[from] = to;
  } else if (strcmp(name, "parent") == 0) {
    if ((r->caller = (pid_t)number_of(value, INT_MAX)) < 0) return complain("--parent wants a pid", value);
  } else if (strcmp(name, "argv0") == 0) {
    r->argv0 = value;
  } else if (strcmp(name, "uid") == 0) {
    if ((r->uid = number_of(value, UINT_MAX - 1L)) < 0) return complain("--uid wants a number", value);
  } else if (strcmp(name, "gid") == 0) {
    if ((r->gid = number_of(value, UINT_MAX - 1L)) < 0) return complain("--gid wants a number", value);
  } else if (strcmp(name, "report") == 0) {
    r->report = (int)number_of(value, INT_MAX);
    if (r->report < 0 || close_on_exec(r->report) < 0 || fcntl(r->report, F_GETFD) < 0) return complain("--report wants a descriptor", value);
  } else
    return complain("there is no such option", name);
  return 0;
}

/* --name value, --name=value; what follows `--` is the command. */
static int parse(struct run *r, int argc, char **argv) {
  int at = 0;
  for (; at < argc && strncmp(argv[at], "--", 2) == 0 && argv[at][2] != 0; at++) {
    char *name = argv[at] + 2, *value = strchr(name, '=');
    if (strcmp(name, "group") == 0 || strcmp(name, "over-runtime") == 0) {
      *(name[0] == 'g' ? &r->to_group : &r->over_runtime) = 1;
      continue;
    }
    if (value != NULL) *value++ = 0;
    else if (++at < argc) value = argv[at];
    else return complain("an option wants a value", name);
    int code = take_option(r, name, value);
    if (code != 0) return code;
  }
  if (at < argc && strcmp(argv[at], "--") != 0)
    return complain(argv[at][0] == '-' ? "there is no such option" : "put -- before the command line", argv[at]);
  if (at + 1 >= argc) return complain("what shall it run? creche guard [OPTION...] -- COMMAND [ARGUMENT...]", NULL);
  r->command = argv + at + 1;
  return 0;
}

static int higher(int fd) {
  int other = fcntl(fd, F_DUPFD_CLOEXEC, 10);
  if (other >= 0) close(fd);
  return other;
}

int open_pair(int pair[2]) {
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return 0;
  /* Not 0, 1 or 2: the caller may have closed those, and then they stay so. */
  for (int i = 0; i < 2; i++)
    if ((pair[i] = higher(pair[i])) < 0) return 0;
  return 1;
}

static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

void keep_only(int *fds, int count) {
  qsort(fds, (size_t)count, sizeof *fds, ascending);
  int from = 0;
  for (int i = 0; i < count; i++) {
    if (fds[i] < 0) continue;
    close_between(from, fds[i] - 1);
    from = fds[i] + 1;
  }
  close_from(from);
}

/*
 * A descriptor that is readable once the caller is gone: a level, so it does not matter when we ask. -1: there is nobody
 * to watch (PID 1; a caller in another PID namespace), or `look` says that he has to be looked for. False: he is gone.
 */
static int watch_caller(struct run *r) {
  pid_t parent = getppid();
  r->caller_fd = -1;
  r->look = 0;
  if (r->caller < 0) r->caller = parent;
  if (r->caller == 0 || getpid() == 1) return 1;
  int fd = (int)syscall(SYS_pidfd_open, r->caller, 0);
  int missing = fd < 0 && errno != ESRCH && errno != EINVAL;
  /* Asked after the opening: so the descriptor is that of our parent, and of nobody who got his number later. */
  if (r->caller != getppid()) return 0;
  if (fd >= 0) r->caller_fd = higher(fd);
  r->look = missing;
  return 1;
}

static int has_terminal(void) {
  int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (tty >= 0) close(tty);
  return tty >= 0;
}

int run(int argc, char **argv) {
  struct run r = {.polite = SIGTERM, .caller = -1, .uid = -1, .gid = -1, .report = -1};
  for (int i = 0; i < NSIG; i++) r.rewrite[i] = i;
  int code = parse(&r, argc, argv), pair[2];
  if (code != 0) return code;
  /* Before anything else: the shorter the time in which his death can be missed. */
  if (!watch_caller(&r)) {
    fprintf(stderr, "creche guard: %d (--parent) did not start it, or is gone: nothing is run\n", (int)r.caller);
    return CANNOT_GUARD;
  }
  prctl(PR_SET_NAME, "creche-guard");
  r.in_terminal = has_terminal();
  r.child_ignored = signal(SIGCHLD, SIG_DFL) == SIG_IGN;
  /* Those that a fault of our own raises are not passed on. */
  sigset_t all;
  sigfillset(&all);
  const int own[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&all, own[i]);
  sigprocmask(SIG_SETMASK, &all, &r.mask);
  adopt_orphans();
  int signals_fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals_fd >= 0) signals_fd = higher(signals_fd);
  pid_t keeper = signals_fd >= 0 && open_pair(pair) ? fork() : -1;
  if (keeper < 0) {
    report_failure(&r, errno);
    return CANNOT_GUARD;
  }
  if (keeper == 0) {
    close(pair[0]);
    close(signals_fd);
    keep(&r, pair[1]);
  }
  close(pair[1]);
  keep_only((int[]){2, pair[0], signals_fd, r.report}, 4);
  if (chdir("/") < 0) return CANNOT_GUARD;
  return stand_in_front(&r, pair[0], signals_fd, keeper);
}
#else
int run(int argc, char **argv) {
  (void)argc, (void)argv;
  fprintf(stderr, "creche guard: only Linux lets a guard adopt daemons\n");
  return 125;
}
#endif
