/* Ending a whole process tree: kill, adopt, kill again, until the kernel says that no child is left. */
#include "guard.h"

static void kill_child(pid_t pid, void *context) {
  (void)context;
  kill(pid, SIGKILL);
}

/* A stopped process cannot fork: whole-tree SIGSTOP first is what wins against trees that fork as they are killed. */
static void freeze_below(pid_t pid, void *depth) {
  int left = *(int *)depth - 1;
  kill(pid, SIGSTOP);
  if (left > 0) each_child(pid, freeze_below, &left);
}

/* What is still there so long after SIGKILL sits in the kernel (state D), or belongs to another user. */
enum { UNKILLABLE_MS = 5000 };

struct survey {
  const struct witness *witness;
  struct pids told;
};

/* Whoever lives, each once. */
static void report_survivor(pid_t pid, void *context) {
  struct survey *survey = context;
  struct process p;
  if (process_stat(pid, &p) && (p.state == 'Z' || p.state == 'X')) return;
  for (size_t i = 0; i < survey->told.count; i++)
    if (survey->told.at[i] == pid) return;
  if (!make_room((void **)&survey->told.at, &survey->told.room, survey->told.count, sizeof pid)) return;
  survey->told.at[survey->told.count++] = pid;
  survey->witness->survivor(survey->witness->context, pid);
}

static uint32_t report_survivors(pid_t leader, const char *cgroup, const struct witness *witness) {
  struct survey survey = {witness, {NULL, 0, 0}};
  struct pids below = {NULL, 0, 0};
  gather_below(getpid(), &below);
  for (size_t i = 0; i < below.count; i++)
    if (below.at[i] != namespace_init) report_survivor(below.at[i], &survey);
  each_in_cgroup(cgroup, report_survivor, &survey);
  uint32_t survivors = (uint32_t)survey.told.count;
  free(below.at);
  free(survey.told.at);
  if (survivors > 0) return survivors;
  /* What is left is dead, and somebody who traces it does not let it go. */
  witness->survivor(witness->context, leader);
  return 1;
}

int adopt_orphans(void) {
#ifdef __linux__
  return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
#else
  return 0;
#endif
}

int has_exited(pid_t leader, siginfo_t *how) {
  int r;
  memset(how, 0, sizeof *how);
  do r = waitid(P_PID, (id_t)leader, how, WEXITED | WNOHANG | WNOWAIT);
  while (r < 0 && errno == EINTR);
  return r == 0 && how->si_pid == leader;
}

/* The leader stays unreaped: its SIGCHLD is still pending, has_exited is next. */
void reap_strays(pid_t leader) {
  for (;;) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return;
    if (info.si_pid == 0 || info.si_pid == leader) return;
    waitpid(info.si_pid, NULL, WNOHANG);
  }
}

enum reaped { REAPED_ALL, REAPED_SOME_LEFT };

static enum reaped reap_all(void) {
  for (;;) {
    pid_t pid = waitpid(-1, NULL, WNOHANG);
    if (pid > 0) continue;
    if (pid == 0) return REAPED_SOME_LEFT;
    if (errno == ECHILD) return REAPED_ALL;
    if (errno != EINTR) return REAPED_ALL;
  }
}

static int is_empty(const char *cgroup) { return reap_all() == REAPED_ALL && is_cgroup_empty(cgroup); }

/*
 * Nothing is left when the kernel says so (ECHILD). A child of ours cannot be recycled before we reap it, so killing
 * by pid is safe here. What a killed process leaves behind becomes our child (we are its subreaper), so every pass
 * goes one level deeper; a fork with SIGKILL pending never returns.
 */
void end_tree(pid_t leader, const char *cgroup, const struct witness *witness) {
  int64_t deadline = now_ms() + UNKILLABLE_MS;
  int exited, exit_told = 0, reported = 0, gone = 1, ready;
  siginfo_t how;
  pid_t self = getpid();
  /* The leader is unreaped at this point: its group is still its own. */
  kill(-leader, SIGKILL);
  kill_cgroup(cgroup);
  exited = has_exited(leader, &how);
  if (!exited) kill(leader, SIGKILL);
  else if (is_empty(cgroup)) {
    remove_cgroup(cgroup);
    /* Most commands end alone, and then both ends are one piece of news. */
    witness->closed(witness->context, 0, &how);
    return;
  }
  for (int pass = 0;; pass++) {
    /* Ordinary trees are gone after a pass or two. What is still there may be growing: stop it, then kill it. */
    if (pass >= 2) {
      int depth = 64;
      each_child(self, freeze_below, &depth);
    }
    each_child(self, kill_child, NULL);
    if (pass > 0) kill_cgroup(cgroup);
    /* A wide tree dies one SIGCHLD at a time: later passes are spaced out, so that the work stays in proportion. */
    int64_t next = now_ms() + (pass < 3 ? 0 : pass < 50 ? 2 : pass < 100 ? 20 : 200);
    do {
      if (!exited) exited = has_exited(leader, &how);
      if (exited && !exit_told) {
        witness->exited(witness->context, &how);
        exit_told = 1;
      }
      /* Not before: how the leader ended is lost with its reaping. */
      if (exited && is_empty(cgroup)) {
        remove_cgroup(cgroup);
        if (!reported) witness->closed(witness->context, 0, NULL);
        return;
      }
      int64_t left = next - now_ms();
      wait_for(-1, left > 1 ? (int)left : 1, &ready, &gone);
    } while (now_ms() < next);
    if (!reported && now_ms() >= deadline) {
      witness->closed(witness->context, report_survivors(leader, cgroup, witness), NULL);
      reported = 1;
    }
  }
}

void end_orphans(void) {
  int gone = 1, ready;
  int64_t deadline = now_ms() + UNKILLABLE_MS;
  while (reap_all() != REAPED_ALL && now_ms() < deadline) {
    each_child(getpid(), kill_child, NULL);
    wait_for(-1, 2, &ready, &gone);
  }
}
