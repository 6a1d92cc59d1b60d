/* The command itself: from vfork to exec, with the errno of whatever failed. */
#include "guard.h"

int failed_step, failed_errno;

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
    /* Of a directory that this user may not look into nobody can say that it holds the command. */
    if (errno == EACCES) denied |= access(r->candidate, F_OK) == 0;
    else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV && errno != ETIMEDOUT) return;
    path += strcspn(path, ":");
    if (*path == 0) break;
    path++;
  }
  errno = denied ? EACCES : ENOENT;
}

static void give_up_unless(enum step step, int failure) {
  if (failure == 0) return;
  failed_step = step;
  failed_errno = failure;
  _exit(127);
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
  restore_signals();
  if (r->level == LEVEL_NAMESPACE) give_up_unless(STEP_PROC, mount_proc());
  if (r->level == LEVEL_CGROUP) give_up_unless(STEP_CGROUP, join_cgroup(r->cgroup));
  give_up_unless(STEP_CWD, chdir(r->cwd) < 0 ? errno : 0);
  execute(r);
  give_up_unless(STEP_EXEC, errno);
}

__attribute__((noinline)) pid_t start_command(const struct request *r, const int stdio[3]) {
  pid_t pid = vfork();
  if (pid == 0) become_command(r, stdio);
  return pid;
}
