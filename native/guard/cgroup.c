/*
 * The level "cgroup": the session in a cgroup (v2) of its own, so that one write ends all of it at one moment and the
 * kernel says when it is empty; with the controllers there, it holds the limits as well.
 */
#include "guard.h"

/* Since Linux 5.14; a test does without it. */
#ifndef KILL_FILE
#define KILL_FILE "cgroup.kill"
#endif

/* Threads count as well for the kernel. This many for each process, and never fewer than the floor, is no limit to speak of. */
enum { THREADS_EACH = 32, THREADS_FLOOR = 256 };

static int write_number(const char *path, const char *file, unsigned long long value) {
  char name[PATH_MAX + 32], text[32];
  snprintf(name, sizeof name, "%s/%s", path, file);
  int fd = open(name, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  int n = snprintf(text, sizeof text, "%llu", value);
  int failure = write(fd, text, (size_t)n) < 0 ? errno : 0;
  close(fd);
  return failure;
}

static int open_in(const char *path, const char *file) {
  char name[PATH_MAX + 32];
  snprintf(name, sizeof name, "%s/%s", path, file);
  return open(name, O_RDONLY | O_CLOEXEC);
}

long long cgroup_number(const char *path, const char *file, const char *key) {
  char text[4096];
  int fd = open_in(path, file);
  if (fd < 0) return -1;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return -1;
  text[n] = 0;
  if (key == NULL) return strtoll(text, NULL, 10);
  size_t length = strlen(key);
  for (char *line = text; line != NULL; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (strncmp(line, key, length) == 0 && line[length] == ' ') return strtoll(line + length, NULL, 10);
  }
  return -1;
}

int make_cgroup(const char *path, const struct limits *limits, struct limits *watched) {
  *watched = *limits;
  if (mkdir(path, 0700) < 0) return errno;
  /* Where a controller is missing the limit is watched, as at the other levels. */
  if (limits->memory_kib > 0 && write_number(path, "memory.max", limits->memory_kib * 1024ULL) == 0) {
    write_number(path, "memory.swap.max", 0);
    if (write_number(path, "memory.oom.group", 1) == 0) watched->memory_kib = 0;
  }
  /* Processes are watched all the same, for the kernel counts something else. */
  if (limits->processes > 0) {
    unsigned long long threads = limits->processes * (unsigned long long)THREADS_EACH;
    write_number(path, "pids.max", threads < THREADS_FLOOR ? THREADS_FLOOR : threads);
  }
  return 0;
}

int join_cgroup(const char *path) { return write_number(path, "cgroup.procs", 0); }

void kill_cgroup(const char *path) {
  /* Where there is no such file it is the loop over the tree that does it. */
  if (*path != 0) write_number(path, KILL_FILE, 1);
}

int is_cgroup_empty(const char *path) { return *path == 0 || cgroup_number(path, "cgroup.events", "populated") != 1; }

void each_in_cgroup(const char *path, visit each, void *context) {
  char text[4096];
  int fd = *path == 0 ? -1 : open_in(path, "cgroup.procs");
  if (fd < 0) return;
  pid_t number = 0;
  ssize_t n;
  while ((n = read(fd, text, sizeof text)) > 0)
    for (ssize_t i = 0; i < n; i++) {
      if (text[i] >= '0' && text[i] <= '9') number = number * 10 + (text[i] - '0');
      else if (number > 0) each(number, context), number = 0;
    }
  close(fd);
}

/* With those that the session made below its own. */
static void remove_below(char *path, size_t length) {
  DIR *directory = opendir(path);
  if (directory == NULL) return;
  struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    int added = snprintf(path + length, PATH_MAX - length, "/%s", entry->d_name);
    if (added > 0 && length + (size_t)added < PATH_MAX) remove_below(path, length + (size_t)added);
    path[length] = 0;
  }
  closedir(directory);
  rmdir(path);
}

void remove_cgroup(const char *path) {
  char below[PATH_MAX];
  if (*path == 0 || rmdir(path) == 0 || errno != EBUSY) return;
  int length = snprintf(below, sizeof below, "%s", path);
  remove_below(below, (size_t)length);
}
