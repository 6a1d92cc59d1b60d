/* Guards in advance: forked and connected before there is a command for them. */
#include "guard.h"

static int read_whole(int fd, void *into, size_t bytes) {
  for (size_t held = 0; held < bytes;) {
    ssize_t n = read(fd, (char *)into + held, bytes - held);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 0;
    held += (size_t)n;
  }
  return 1;
}

/*
 * Waits for its command (`timeout` NULL: for ever). False: the runtime wants it no more: it closed a stream, or is gone.
 * Nothing but the request ever comes in before the command runs: what is readable on the two others is their end.
 */
static int is_wanted(const struct session *s, const struct timespec *timeout) {
  for (;;) {
    fd_set set;
    FD_ZERO(&set);
    int top = liveness;
    FD_SET(liveness, &set);
    for (int i = 0; i < 3; i++) {
      FD_SET(s->stdio[i], &set);
      if (s->stdio[i] > top) top = s->stdio[i];
    }
    int n = pselect(top + 1, &set, NULL, NULL, timeout, &unblocked);
    if (n == 0) return 1;
    if (n < 0) continue;
    return !FD_ISSET(liveness, &set) && !FD_ISSET(s->stdio[1], &set) && !FD_ISSET(s->stdio[2], &set);
  }
}

void guard_in_advance(uint32_t id, const unsigned char *token) {
  struct session s;
  struct request r;
  struct mapping request[2];
  uint32_t bytes;
#ifdef __linux__
  prctl(PR_SET_NAME, "creche-spare");
#endif
  if (!join_runtime(&s, id, token)) return;
  if (is_wanted(&s, NULL) && read_whole(s.stdio[0], &bytes, sizeof bytes) && bytes >= HEAD_BYTES + 2) {
    char *body = map(bytes);
    if (body == NULL) emit(id, EVENT_FAILED, ENOMEM, STEP_FORK);
    /* Whoever was stopped meanwhile must not start what was given up. */
    else if (read_whole(s.stdio[0], body, bytes) && is_wanted(&s, &(struct timespec){0, 0})) {
      request[0] = (struct mapping){body, bytes};
      int failure = well_formed(body, bytes) ? parse_request(body, bytes, &r, &request[1]) : EINVAL;
      if (failure == 0) {
        guard_session(&s, &r, request);
        return;
      }
      emit(id, EVENT_FAILED, failure, STEP_FORK);
    }
  }
  /* Where a request was on its way, the runtime hears that nothing came of it. */
  emit(id, EVENT_CLOSED, 0, 0);
  unlink(s.path);
}
