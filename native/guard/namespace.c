/*
 * The level "namespace": a PID namespace for the tree, so that the kernel itself ends whatever is left once the init in
 * it is gone. The guard stays outside and is the parent of the command as ever: pids, exit codes and signals are the same
 * as at the level "guard". The init starts nothing. It takes in orphans, and it ends with its guard.
 */
#include "guard.h"

pid_t namespace_init;

#ifdef __linux__

static int in_user_namespace;

static int write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  ssize_t n = write(fd, text, strlen(text));
  int failure = n < 0 ? errno : 0;
  close(fd);
  return failure;
}

/* Users and groups stay who they are. More than oneself may not be mapped without privileges. */
static int map_ids(uid_t uid, gid_t gid) {
  char line[64];
  int failure = write_file("/proc/self/setgroups", "deny");
  if (failure != 0 && failure != ENOENT) return failure;
  snprintf(line, sizeof line, "%u %u 1", uid, uid);
  failure = write_file("/proc/self/uid_map", line);
  if (failure != 0) return failure;
  snprintf(line, sizeof line, "%u %u 1", gid, gid);
  return write_file("/proc/self/gid_map", line);
}

/*
 * The guard's end is seen twice: by the signal, also while somebody keeps this process stopped, and by the end of the
 * pipe, also when the guard died before the signal was asked for.
 */
static _Noreturn void be_init(int guard_lives) {
  char none;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_NAME, "creche-init");
  /* Orphans are reaped by the kernel. */
  set_handler(SIGCHLD, SIG_IGN);
  if (guard_lives != EVENTS) dup2(guard_lives, EVENTS);
  close_from(EVENTS + 1);
  while (read(EVENTS, &none, 1) < 0 && errno == EINTR) {
  }
  _exit(0);
}

int enter_namespace(void) {
  uid_t uid = geteuid();
  gid_t gid = getegid();
  /* Who may not make one as it stands may in a user namespace, where that is allowed. */
  if (unshare(CLONE_NEWPID) < 0) {
    if (errno != EPERM) return errno;
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0) return errno;
    in_user_namespace = 1;
    int failure = map_ids(uid, gid);
    if (failure != 0) return failure;
  }
  int alive[2];
  if (pipe2(alive, O_CLOEXEC) < 0) return errno;
  pid_t init = fork();
  if (init == 0) {
    close(alive[1]);
    be_init(alive[0]);
  }
  int failure = init < 0 ? errno : 0;
  close(alive[0]);
  /* The other end stays open as long as we live, and nobody else has it. */
  if (failure != 0) close(alive[1]);
  else namespace_init = init;
  return failure;
}

/*
 * In a user namespace one begins with every capability, and exec takes them away from all but root. What comes before exec
 * must not be allowed more than the command: it would stand in a directory that its user may not enter.
 */
static int drop_capabilities(void) {
  if (geteuid() == 0) return 0;
  /* As linux/capability.h has it, which is not everywhere: version 3; effective, permitted and inheritable, twice. */
  struct {
    uint32_t version;
    int pid;
  } header = {0x20080522, 0};
  uint32_t none[6] = {0};
  return syscall(SYS_capset, &header, none) < 0 ? errno : 0;
}

int mount_proc(void) {
  if (unshare(CLONE_NEWNS) < 0) return errno;
  /* What the machine mounts and unmounts later is seen here as well; what is mounted here is not seen there. */
  if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0) return errno;
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) return errno;
  return in_user_namespace ? drop_capabilities() : 0;
}

#else
int enter_namespace(void) { return ENOSYS; }
int mount_proc(void) { return ENOSYS; }
#endif
