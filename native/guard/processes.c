/* What /proc says of processes: parents, children, start times. It signals nobody. */
#include "guard.h"

#ifdef __linux__
/* A kernel may lack it (CONFIG_PROC_CHILDREN); so may a test. */
#ifndef CHILDREN_FILE
#define CHILDREN_FILE "children"
#endif

/* The children that one thread of it has forked, or adopted. False where there is no such file. */
static int children_of_thread(pid_t pid, pid_t thread, visit each, void *context) {
  char path[64], buffer[1024];
  snprintf(path, sizeof path, "/proc/%d/task/%d/" CHILDREN_FILE, (int)pid, (int)thread);
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

/* Calls `each` for every number among the names of a directory. */
static void each_number_in(const char *path, visit each, void *context) {
  DIR *directory = opendir(path);
  if (directory == NULL) return;
  struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    pid_t number = (pid_t)atoi(entry->d_name);
    if (number > 0) each(number, context);
  }
  closedir(directory);
}

struct search {
  pid_t parent;
  visit each;
  void *context;
};

static void visit_children_of_thread(pid_t thread, void *context) {
  struct search *s = context;
  children_of_thread(s->parent, thread, s->each, s->context);
}

static void visit_if_child(pid_t pid, void *context) {
  struct search *s = context;
  struct process p;
  if (process_stat(pid, &p) && p.parent == s->parent) s->each(pid, s->context);
}

void each_child(pid_t pid, visit each, void *context) {
  struct search s = {pid, each, context};
  pid_t self = getpid();
  char tasks[64];
  /* We have one thread, and it tells whether this kernel has such files at all (CONFIG_PROC_CHILDREN). */
  if (pid == self && children_of_thread(self, self, each, context)) return;
  snprintf(tasks, sizeof tasks, "/proc/%d/task/%d/" CHILDREN_FILE, (int)self, (int)self);
  if (access(tasks, F_OK) < 0) return each_number_in("/proc", visit_if_child, &s);
  snprintf(tasks, sizeof tasks, "/proc/%d/task", (int)pid);
  each_number_in(tasks, visit_children_of_thread, &s);
}

int process_stat(pid_t pid, struct process *process) {
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
  for (char *word = strtok_r(at + 1, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
    switch (++field) {
      case 3: process->state = *word; break;
      case 4: process->parent = (pid_t)atoi(word); break;
      case 22: process->started = strtoull(word, NULL, 10); break;
      case 24: process->resident = atol(word); return 1;
    }
  return 0;
}
#else
int process_stat(pid_t pid, struct process *process) { return (void)pid, (void)process, 0; }
void each_child(pid_t pid, visit each, void *context) { (void)pid, (void)each, (void)context; }
#endif

void append_pid(pid_t pid, void *context) {
  struct pids *into = context;
  if (make_room((void **)&into->at, &into->room, into->count, sizeof *into->at)) into->at[into->count++] = pid;
}

void gather_below(pid_t pid, struct pids *into) {
  size_t first = into->count;
  each_child(pid, append_pid, into);
  for (size_t i = first; i < into->count; i++) each_child(into->at[i], append_pid, into);
}
