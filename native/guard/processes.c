/* What /proc says of processes: parents, children, start times. It signals nobody. */
#include "guard.h"

#ifdef __linux__
/* False where the kernel has no CONFIG_PROC_CHILDREN, or `pid` is gone. */
static int children_by_file(pid_t pid, visit each, void *context) {
  char path[64], buffer[1024];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  pid_t number = 0;
  ssize_t n;
  /* One read may end in the middle of a number. */
  while ((n = read(fd, buffer, sizeof buffer)) > 0)
    for (ssize_t i = 0; i < n; i++) {
      if (buffer[i] >= '0' && buffer[i] <= '9') number = number * 10 + (buffer[i] - '0');
      else if (number > 0) each(number, context), number = 0;
    }
  if (number > 0) each(number, context);
  close(fd);
  return 1;
}

int process_stat(pid_t pid, pid_t *parent, unsigned long long *started) {
  char path[64], buffer[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, buffer, sizeof buffer - 1);
  close(fd);
  if (n <= 0) return 0;
  buffer[n] = 0;
  /* Field 2 is the name in parentheses and may hold anything, parentheses too: start behind the last one. */
  char *at = strrchr(buffer, ')');
  if (at == NULL) return 0;
  char *save = NULL;
  int field = 2;
  for (char *word = strtok_r(at + 1, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
    if (++field == 4) *parent = (pid_t)atoi(word);
    if (field == 22) {
      *started = strtoull(word, NULL, 10);
      return 1;
    }
  }
  return 0;
}

static void children_by_scan(pid_t parent, visit each, void *context) {
  DIR *proc = opendir("/proc");
  if (proc == NULL) return;
  struct dirent *entry;
  while ((entry = readdir(proc)) != NULL) {
    pid_t pid = (pid_t)atoi(entry->d_name), found = 0;
    unsigned long long started;
    if (pid > 0 && process_stat(pid, &found, &started) && found == parent) each(pid, context);
  }
  closedir(proc);
}

void each_child(pid_t pid, visit each, void *context) {
  if (!children_by_file(pid, each, context) && pid == getpid()) children_by_scan(pid, each, context);
}
#else
void each_child(pid_t pid, visit each, void *context) { (void)pid, (void)each, (void)context; }
#endif
