/* Requests of the runtime as bytes in memory, and the memory that they take. */
#include "guard.h"

void *map(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

int make_room(void **array, size_t *room, size_t count, size_t size) {
  if (count < *room) return 1;
  size_t wanted = *room == 0 ? 64 : *room * 2;
  void *grown = realloc(*array, wanted * size);
  if (grown == NULL) return 0;
  *array = grown;
  *room = wanted;
  return 1;
}

uint32_t u32(const char *at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

uint32_t id_of(const char *body) { return u32(body); }
const unsigned char *token_of(const char *body) { return (const unsigned char *)body + 4; }
uint32_t argc_of(const char *body) { return u32(body + 4 + TOKEN_BYTES); }
static uint32_t envc_of(const char *body) { return u32(body + 8 + TOKEN_BYTES); }

int well_formed(const char *body, uint32_t bytes) {
  return body[bytes - 1] == 0 && argc_of(body) <= bytes && envc_of(body) <= bytes;
}

int parse_request(char *body, uint32_t bytes, struct request *r, struct mapping *scratch) {
  uint32_t argc = argc_of(body), envc = envc_of(body);
  if (argc == 0) return EINVAL;
  scratch->bytes = (argc + envc + 2) * sizeof(char *) + bytes + PATH_MAX;
  scratch->at = map(scratch->bytes);
  if (scratch->at == NULL) return ENOMEM;
  r->argv = (char **)scratch->at;
  r->envp = r->argv + argc + 1;
  /* Longer than any PATH entry and the name together: both are part of the request, or the built-in PATH. */
  r->candidate = (char *)(r->envp + envc + 1);
  const char *numbers = body + 12 + TOKEN_BYTES;
  r->level = u32(numbers);
  r->limits = (struct limits){.processes = u32(numbers + 4), .memory_kib = u32(numbers + 8)};
  char *at = body + HEAD_BYTES, *end = body + bytes;
  r->cwd = at;
  at += strlen(at) + 1;
  if (at >= end) return EINVAL;
  r->cgroup = at;
  at += strlen(at) + 1;
  for (uint32_t i = 0; i < argc + envc; i++) {
    if (at >= end) return EINVAL;
    if (i < argc) r->argv[i] = at;
    else r->envp[i - argc] = at;
    at += strlen(at) + 1;
  }
  return 0;
}
