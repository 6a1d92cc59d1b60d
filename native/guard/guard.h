/*
 * guard: the spawn server of creche and, forked from it, one session guard per command.
 *
 * Owns: starting a command quickly (this process is tiny; forking the runtime's heap is not), and ending its
 * whole process tree. Refuses: policy. Graces, restarts and retries are the runtime's; this program does what
 * it is told and what the runtime's death demands. Called by src/process/SpawnServer.ts, which speaks the
 * same protocol in GuardProtocol.ts: change both, and PROTOCOL, together.
 *
 * main.c names the modes; each has its own file, and all use the rest:
 *
 *   server.c     guard --serve DIRECTORY: the spawn server       probe.c      guard --probe: which levels hold here
 *   session.c    one command and its tree, for the server        spare.c      the same, forked in advance
 *   run.c        guard --run -- COMMAND: one for any caller
 *   front.c      the process that this caller knows              keeper.c     the one that holds the tree
 *   notify.c     guard --notify: word for the service manager
 *   command.c    from fork to exec                               tree.c       ending a whole tree
 *   namespace.c  the level "namespace"                           cgroup.c     the level "cgroup"
 *   limits.c     what a tree may take
 *   processes.c  parents and children, from /proc                request.c    requests as bytes
 *   events.c     what the runtime is told                        waiting.c    waiting, signals, time
 *
 * Outside Linux there is no subreaper: the process group and the liveness hold, daemons do not.
 */
#ifndef CRECHE_GUARD_H
#define CRECHE_GUARD_H
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#define VERSION "0.1.0"
#define PROTOCOL 4

/* ---- server.c: the modes take main's arguments behind their flag, and return the exit code ---------- */

/* The descriptors that the runtime hands to the spawn server. */
enum { EVENTS = 3, LIVENESS = 4, REQUESTS = 5 };

int serve(int argc, char **argv);

/* ---- run.c, front.c, keeper.c: one command for a caller of its own ---------------------------------- */

int run(int argc, char **argv);

#ifdef __linux__
struct run {
  char **command;
  const char *argv0;
  long uid, gid; /* -1: as the caller */
  long grace_ms; /* between `polite` and SIGKILL; 0: SIGKILL at once */
  int polite;
  int to_group;
  int rewrite[NSIG]; /* 0: is not passed on */
  int report;        /* descriptor for { i32 pid; i32 errno } where the command could not be run; -1: none */
  pid_t caller;
  int caller_fd; /* -1: none */
  int over_runtime; /* the command is a runtime: guards of its own that come to us are left to their work */
  int look;      /* the caller has to be looked for: this system has no descriptor of him */
  int in_terminal;
  /* As the caller left them. */
  sigset_t mask;
  int child_ignored;
};

/* From the keeper to the front. The other way an i32 goes: a signal for the command, CALLER_GONE, or CONTINUED less a stop's number. */
enum note_type {
  NOTE_STARTED = 1, /* a: pid */
  NOTE_FAILED = 2,  /* a: errno, b: enum step */
  NOTE_STOPPED = 3, /* a: signal, b: which stop it is, from 1 */
  NOTE_ENDED = 4    /* a, b: si_code and si_status of the command; nothing but `survivors` is left */
};
enum { CALLER_GONE = -1, CONTINUED = -1 };
struct note {
  int32_t type, a, b;
  uint32_t survivors;
};

/* 125: the guard itself could not do it; 126: the command may not be run; 127: there is none. As env, timeout and docker have it. */
enum { USAGE = 2, CANNOT_GUARD = 125, CANNOT_RUN = 126, NOT_FOUND = 127 };

/* Returns the exit code, where the command did not end by a signal. */
int stand_in_front(const struct run *r, int keeper_fd, int signals_fd, pid_t keeper);
/* Into the report, where there is one, else to standard error. */
void report_failure(const struct run *r, int error);
/* Never returns. `front`: socket to the front. */
void keep(const struct run *r, int front);
/* Two ends of a SOCK_SEQPACKET, neither of them 0, 1 or 2. */
int open_pair(int pair[2]);
/* Closes every other descriptor; -1 among them counts for nothing. */
void keep_only(int *fds, int count);
#endif

/* ---- notify.c ------------------------------------------------------------------------------------- */

int notify(int argc, char **argv);

/* ---- events.c ------------------------------------------------------------------------------------- */

enum event_type {
  EVENT_HELLO = 1,    /* a: PROTOCOL, b: 1 when a subreaper holds the tree */
  EVENT_SPAWNED = 2,  /* a: pid of the command, b: pid of its guard */
  EVENT_FAILED = 3,   /* a: errno, b: enum step */
  EVENT_EXITED = 4,   /* a: exit code */
  EVENT_SIGNALED = 5, /* a: signal */
  EVENT_SURVIVOR = 6, /* a: pid that SIGKILL did not end */
  EVENT_CLOSED = 7,   /* a: number of survivors; the last event of a session */
  EVENT_STARTED = 8,  /* a, b: low and high half of the command's start time (field 22 of its stat) */
  EVENT_LOST = 9,     /* the guard itself was killed; the server ends its tree, EVENT_CLOSED follows */
  EVENT_LIMIT = 10,   /* a: enum limit, b: KiB or processes; the tree took more than it may and is being ended */
  EVENT_PROBED = 11   /* a: enum step that failed, or 0: the level "namespace" holds here; b: errno */
};

enum step { STEP_FORK = 1, STEP_CONNECT = 2, STEP_CWD = 3, STEP_EXEC = 4, STEP_NAMESPACE = 5, STEP_PROC = 6, STEP_CGROUP = 7 };

struct event {
  uint32_t id;
  uint32_t type;
  int32_t a;
  int32_t b;
};

void emit_events(const struct event *events, size_t count);
void emit(uint32_t id, enum event_type type, int32_t a, int32_t b);

/* ---- waiting.c ------------------------------------------------------------------------------------ */

/* Readable, at its end, once the one for whom we work is gone. A level, not an edge: see wait_for. */
extern int liveness;

int64_t now_ms(void);
/*
 * Waits until `fd` or the liveness is readable, a child changed, or `timeout_ms` passed (negative: for ever).
 * SIGCHLD is blocked except inside pselect, so a child that ends just before the wait is not missed.
 */
void wait_for(int fd, int timeout_ms, int *fd_ready, int *runtime_gone);

/* The signal mask for a wait, and for a command. */
extern sigset_t unblocked;

void set_handler(int sig, void (*handler)(int));
/* Ignores whatever stray signal could take the containment away; `restore_signals`, in a command, undoes it. */
void own_signals(void);
void restore_signals(void);
int close_on_exec(int fd);
/* Closes every descriptor from `first` on. */
void close_from(int first);
void close_between(int first, int last);

/* ---- processes.c ---------------------------------------------------------------------------------- */

typedef void (*visit)(pid_t pid, void *context);

void each_child(pid_t pid, visit each, void *context);
/* Fields 3, 4, 22 and 24 of /proc/PID/stat. */
struct process {
  char state;
  pid_t parent;
  unsigned long long started;
  long resident; /* pages */
};

/* False when there is no such process. */
int process_stat(pid_t pid, struct process *process);

struct pids {
  pid_t *at;
  size_t count, room;
};

/* A visit that appends to `struct pids`; what there is no memory for is left out. */
void append_pid(pid_t pid, void *context);
/* Appends everything below `pid`, parents before children. Whoever moves meanwhile may be missed, and is not counted twice. */
void gather_below(pid_t pid, struct pids *into);

/* ---- tree.c --------------------------------------------------------------------------------------- */

/* Who hears how a tree ends. Each may be called with what `context` points to; `closed` is the last call. */
struct witness {
  void *context;
  void (*exited)(void *context, const siginfo_t *how);
  void (*survivor)(void *context, pid_t pid);
  /* `how`: the leader's exit, where `exited` was not called for it. */
  void (*closed)(void *context, uint32_t survivors, const siginfo_t *how);
};

/* What this process's orphans leave behind comes to itself. False where the system has no such thing. */
int adopt_orphans(void);
/* How the command ended, without reaping it: while the zombie is there its pid and group are nobody else's. */
int has_exited(pid_t leader, siginfo_t *how);
/* Reaps adopted strays that ended by themselves, and never the leader. */
void reap_strays(pid_t leader);
/* Ends everything below this process, and in its cgroup, and returns once nothing is left. The leader must be unreaped. */
void end_tree(pid_t leader, const char *cgroup, const struct witness *witness);

/* Ends whatever came to this process as an orphan, where the leader is not known. */
void end_orphans(void);

/* ---- request.c ------------------------------------------------------------------------------------ */

enum { TOKEN_BYTES = 16 };

/*
 * request: u32 bytes that follow; u32 id; token; u32 argc; u32 envc; u32 level; u32 processes; u32 memory in KiB; cwd,
 * cgroup, arguments, environment, each with its NUL. The id comes back even from a body that does not parse. argc 0: a
 * spare guard is wanted; id 0: guards that were stopped shall go on. A limit of 0 is none.
 */
enum { HEAD_BYTES = 4 + TOKEN_BYTES + 5 * 4 };

enum level { LEVEL_GUARD = 1, LEVEL_NAMESPACE = 2, LEVEL_CGROUP = 3 };

struct limits {
  uint32_t processes;
  uint32_t memory_kib;
};

struct request {
  enum level level;
  struct limits limits;
  char *cwd;
  char *cgroup; /* the session's own, still to be made; empty at another level */
  char **argv;
  char **envp;
  char *candidate; /* room for the longest DIRECTORY/COMMAND of the search through PATH */
};

struct mapping {
  void *at;
  size_t bytes;
};

void *map(size_t bytes);
/* Grows an array that may be full. False: there is no memory. */
int make_room(void **array, size_t *room, size_t count, size_t size);
uint32_t u32(const char *at);
uint32_t id_of(const char *body);
const unsigned char *token_of(const char *body);
uint32_t argc_of(const char *body);
int well_formed(const char *body, uint32_t bytes);
/* Points `r` into `body`; the pointer arrays get their own mapping, `scratch`. Returns an errno, 0 when it is done. */
int parse_request(char *body, uint32_t bytes, struct request *r, struct mapping *scratch);

/* ---- command.c ------------------------------------------------------------------------------------ */

/* What failed in the command before it ran: set by the command itself, which shares our memory until exec. */
extern int failed_step, failed_errno;

/* Returns its pid, or -1 with errno; it did not run where `failed_step` is set. */
pid_t start_command(const struct request *r, const int stdio[3]);

/* ---- namespace.c ---------------------------------------------------------------------------------- */

/*
 * From here on the children of this process live in a PID namespace of their own, whose init is the first of them: made
 * here, it ends with this process, and all the others with it. Returns an errno, 0 when it is done.
 */
int enter_namespace(void);
/* The command, before exec: /proc shows its namespace. Returns an errno, 0 when it is done. */
int mount_proc(void);
/* The namespace's init as seen from here; 0 outside one. It is ours, and not of the session. */
extern pid_t namespace_init;

/* ---- cgroup.c ------------------------------------------------------------------------------------- */

/*
 * Makes the session's cgroup and writes its limits. Those that the kernel holds from here on are taken out of `watched`.
 * Returns an errno, 0 when it is done.
 */
int make_cgroup(const char *path, const struct limits *limits, struct limits *watched);
/* The calling process moves into it. Returns an errno, 0 when it is done. */
int join_cgroup(const char *path);
/* SIGKILL to all in it at one moment; does nothing where the kernel cannot. */
void kill_cgroup(const char *path);
/* Whether it is without a living process; true as well where there is none. */
int is_cgroup_empty(const char *path);
/* Calls `each` for every process in it. */
void each_in_cgroup(const char *path, visit each, void *context);
void remove_cgroup(const char *path);
/* Reads a number from a file of it, behind `key` if there is one: -1 where there is no such thing. */
long long cgroup_number(const char *path, const char *file, const char *key);

/* ---- limits.c ------------------------------------------------------------------------------------- */

enum limit { LIMIT_NONE = 0, LIMIT_MEMORY = 1, LIMIT_PROCESSES = 2 };

struct usage {
  enum limit over;
  uint32_t amount; /* KiB, or processes */
};

/* How the tree below this process stands, and in `next_ms` how long that may be believed. */
struct usage watch_tree(const struct limits *watched, int *next_ms);
/* Whether the kernel ended the tree by itself, as it does in a cgroup. */
struct usage look_at_cgroup(const char *path, const struct limits *limits);

/* ---- probe.c -------------------------------------------------------------------------------------- */

/* Tries out in a child what the level "namespace" needs, and tells the runtime. Returns at once. */
void probe_levels(void);
/*
 * The same for whoever asks at a terminal: `guard 1`, where a subreaper holds trees, and `namespace STEP ERRNO`, both 0
 * where it works.
 */
int probe(int argc, char **argv);

/* ---- session.c, spare.c --------------------------------------------------------------------------- */

struct session {
  uint32_t id;
  int commands;
  int stdio[3];
  char path[PATH_MAX];   /* of the fifo */
  char cgroup[PATH_MAX]; /* empty: none */
};

/* The runtime's private directory. */
extern const char *directory;

/* False: it failed, was told of, and nothing of it is left but descriptors. */
int join_runtime(struct session *s, uint32_t id, const unsigned char *token);
/* From here to its end. `request` are the mappings that `r` points into; they go back to the system once the command runs. */
void guard_session(struct session *s, const struct request *r, const struct mapping request[2]);
/* A guard in advance: all that a start needs but the command. It serves one, or none. */
void guard_in_advance(uint32_t id, const unsigned char *token);

#endif
