/*
 * What the runtime is told: fixed-size events, written by the server and by every session guard. One small write
 * to a stream socket is one buffer in the kernel, so the events of many writers never mix.
 */
#include "guard.h"

void emit_events(const struct event *events, size_t count) {
  /* A runtime that died gives EPIPE: nobody is left to tell. One that is stopped makes us wait here. */
  while (write(EVENTS, events, count * sizeof *events) < 0 && errno == EINTR) {
  }
}

void emit(uint32_t id, enum event_type type, int32_t a, int32_t b) {
  emit_events(&(struct event){id, type, a, b}, 1);
}
