/*
 * guard --notify: hands messages to the service manager (systemd and those that speak like it), for a runtime that has no
 * datagram sockets. Each message on standard input ends with a NUL and goes to NOTIFY_SOCKET as one datagram. Ends with its
 * input, so with the runtime; whatever stray signal comes is for the runtime to answer.
 */
#include "guard.h"
#include <stddef.h>

enum { MOST_BYTES = 4096, SEND_SECONDS = 1 };

/* A path, or `@` and a name in the abstract namespace. Returns the length of the address, 0 where it is none. */
static socklen_t address_of(const char *name, struct sockaddr_un *address) {
  size_t length = strlen(name);
  if ((name[0] != '/' && name[0] != '@') || length < 2 || length >= sizeof address->sun_path) return 0;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, name, length);
  if (name[0] == '@') address->sun_path[0] = 0;
  /* An abstract name ends where the address does; a path has its NUL. */
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (name[0] == '/'));
}

int notify(int argc, char **argv) {
  (void)argv;
  const char *name = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address;
  if (argc != 0 || name == NULL) return -1;
  socklen_t length = address_of(name, &address);
  if (length == 0) {
    fprintf(stderr, "guard --notify: NOTIFY_SOCKET is no address of a unix socket\n");
    return 1;
  }
  for (size_t i = 0; i < 5; i++) signal((int[]){SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE}[i], SIG_IGN);
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0) return 1;
  close_on_exec(fd);
  /* A manager that takes nothing must not pile messages up here. */
  struct timeval most = {.tv_sec = SEND_SECONDS};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
  char message[MOST_BYTES];
  size_t held = 0;
  for (;;) {
    ssize_t got = read(0, message + held, sizeof message - held);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return 0;
    held += (size_t)got;
    for (char *end; (end = memchr(message, 0, held)) != NULL;) {
      size_t whole = (size_t)(end - message);
      /* Nobody can be told that nobody listens. */
      if (whole > 0) (void)!sendto(fd, message, whole, 0, (struct sockaddr *)&address, length);
      held -= whole + 1;
      memmove(message, end + 1, held);
    }
    /* Longer than any message of ours. */
    if (held == sizeof message) return 1;
  }
}
