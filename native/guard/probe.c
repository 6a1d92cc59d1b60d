/* Which levels hold here is found out by trying: what a kernel says about itself is not what a container lets one do. */
#include "guard.h"

/* Everything that a session's start at the level "namespace" does, exec included. Returns the step that failed, or 0. */
static int try_namespace(int *failure) {
  char *argv[] = {"/proc/self/exe", "--version", NULL}, *envp[] = {NULL};
  struct request r = {.level = LEVEL_NAMESPACE, .cwd = "/", .cgroup = "", .argv = argv, .envp = envp};
  *failure = enter_namespace();
  if (*failure != 0) return STEP_NAMESPACE;
  pid_t pid = start_command(&r, (const int[3]){0, 1, 2});
  int status = 0;
  *failure = pid < 0 ? errno : failed_errno;
  if (pid < 0) return STEP_FORK;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (failed_step != 0) return failed_step;
  *failure = status == 0 ? 0 : EIO;
  return status == 0 ? 0 : STEP_EXEC;
}

void probe_levels(void) {
  pid_t pid = fork();
  if (pid < 0) emit(0, EVENT_PROBED, STEP_FORK, errno);
  if (pid != 0) return;
  int failure = 0;
  int step = try_namespace(&failure);
  emit(0, EVENT_PROBED, step, failure);
  _exit(0);
}

int probe(int argc, char **argv) {
  (void)argv;
  if (argc != 0) return -1;
  int null = open("/dev/null", O_RDWR | O_CLOEXEC), out = fcntl(1, F_DUPFD_CLOEXEC, 3);
  /* What is tried out must not speak. */
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  own_signals();
  int subreaper = adopt_orphans(), failure = 0, step = try_namespace(&failure);
  dprintf(out, "guard %d\nnamespace %d %d\n", subreaper, step, failure);
  return 0;
}
