/*
 * What a session's tree may take: looked at from time to time, more often while it grows. What it takes for a moment
 * between two looks is not seen; where a cgroup has the controllers the kernel sees everything.
 *
 * A tree of processes can double within a millisecond, and then it takes the processor from whoever looks. So the number
 * of processes is asked for often and cheaply (how many the whole machine has begun since), and counted no further than
 * to the first that is too many. Memory does not grow that fast.
 */
#include "guard.h"

enum { GLANCE_MS = 20, SOONEST_MS = 10, LATEST_MS = 250 };
/* A look takes no more than this part of the time. */
enum { SHARE = 20 };

#ifdef __linux__

/* False: there is no such file, or it may not be read, or there is nothing in it. */
static int read_proc(pid_t pid, const char *name, char *text, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t n = read(fd, text, size - 1);
  close(fd);
  if (n <= 0) return 0;
  text[n] = 0;
  return 1;
}

/*
 * Proportional set size in KiB: shared pages count once over all that share them. Dear, so it is asked for last. A process may
 * forbid the look (prctl PR_SET_DUMPABLE, a program that may be run and not read): then all that no file stands behind is its own.
 */
static unsigned long long proportional_kib(pid_t pid, unsigned long long page_kib) {
  char text[2048];
  char *at = read_proc(pid, "smaps_rollup", text, sizeof text) ? strstr(text, "\nPss:") : NULL;
  if (at != NULL) return strtoull(at + 5, NULL, 10);
  unsigned long long resident, shared;
  if (!read_proc(pid, "statm", text, sizeof text) || sscanf(text, "%*u %llu %llu", &resident, &shared) != 2) return 0;
  return resident > shared ? (resident - shared) * page_kib : 0;
}

/* The newest pid of the machine: it counts every process and thread that was begun. -1 where it is not told. */
static long newest_pid(void) {
  char text[128];
  int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) return -1;
  text[n] = 0;
  char *last = strrchr(text, ' ');
  return last == NULL ? -1 : strtol(last, NULL, 10);
}

/* A pid after the newest may have been given before it, when the numbers began anew: then there may have been any number. */
static int few_began(long since, long now, uint32_t fewer_than) {
  return since >= 0 && now >= since && (unsigned long)(now - since) < fewer_than;
}

static struct {
  struct pids tree;
  uint32_t processes;
  unsigned long long resident_kib;
  long newest;
  int64_t look_at; /* memory, at the latest then */
  int64_t not_before;
  int rest_ms;
} seen = {.newest = -1, .rest_ms = SOONEST_MS};

/* Goes through the tree; stops at the first process that is too many. */
static struct usage look(const struct limits *watched) {
  const unsigned long long page_kib = (unsigned long long)sysconf(_SC_PAGESIZE) / 1024;
  struct pids *tree = &seen.tree;
  uint32_t processes = 0;
  unsigned long long resident = 0;
  seen.newest = newest_pid();
  tree->count = 0;
  each_child(getpid(), append_pid, tree);
  for (size_t i = 0; i < tree->count; i++) {
    struct process p;
    if (process_stat(tree->at[i], &p) && p.state != 'Z' && p.state != 'X' && tree->at[i] != namespace_init) {
      processes++;
      resident += (unsigned long long)p.resident * page_kib;
      if (watched->processes > 0 && processes > watched->processes) return (struct usage){LIMIT_PROCESSES, processes};
    }
    each_child(tree->at[i], append_pid, tree);
  }
  if (watched->memory_kib > 0 && resident > watched->memory_kib) {
    /* Pages that processes share were counted for each. */
    unsigned long long sum = 0;
    for (size_t i = 0; i < tree->count; i++)
      if (tree->at[i] != namespace_init) sum += proportional_kib(tree->at[i], page_kib);
    if (sum > watched->memory_kib) return (struct usage){LIMIT_MEMORY, sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum};
  }
  int grows = processes > seen.processes || resident > seen.resident_kib + seen.resident_kib / 16;
  seen.rest_ms = grows ? SOONEST_MS : seen.rest_ms * 2 < LATEST_MS ? seen.rest_ms * 2 : LATEST_MS;
  seen.processes = processes;
  seen.resident_kib = resident;
  return (struct usage){LIMIT_NONE, 0};
}

/* What this process has used of the processor: the clock on the wall says more of the others, above all during a bomb. */
static int64_t used_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000 + (t.tv_nsec + 999999) / 1000000;
}

struct usage watch_tree(const struct limits *watched, int *next_ms) {
  int64_t now = now_ms();
  int memory = watched->memory_kib > 0 && now >= seen.look_at;
  int processes = watched->processes > 0 && now >= seen.not_before &&
                  !few_began(seen.newest, newest_pid(), watched->processes + 1 - seen.processes);
  if (memory || processes) {
    int64_t before = used_ms();
    struct usage usage = look(watched);
    if (usage.over != LIMIT_NONE) return usage;
    int64_t took = used_ms() - before;
    now = now_ms();
    seen.not_before = now + took * SHARE;
    seen.look_at = now + (took * SHARE > seen.rest_ms ? took * SHARE : seen.rest_ms);
  }
  int64_t next = watched->memory_kib > 0 ? seen.look_at - now : GLANCE_MS;
  *next_ms = watched->processes > 0 && next > GLANCE_MS ? GLANCE_MS : next < 1 ? 1 : (int)next;
  return (struct usage){LIMIT_NONE, 0};
}

#else
struct usage watch_tree(const struct limits *watched, int *next_ms) {
  (void)watched;
  *next_ms = -1;
  return (struct usage){LIMIT_NONE, 0};
}
#endif

struct usage look_at_cgroup(const char *path, const struct limits *limits) {
  if (*path == 0 || limits->memory_kib == 0 || cgroup_number(path, "memory.events", "oom_kill") <= 0)
    return (struct usage){LIMIT_NONE, 0};
  return (struct usage){LIMIT_MEMORY, limits->memory_kib};
}
