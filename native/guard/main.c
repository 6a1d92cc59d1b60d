/* The modes of the program, by their flag. */
#include "guard.h"

static const struct mode {
  const char *flag;
  const char *usage;
  int (*run)(int argc, char **argv);
} modes[] = {
    {"--serve", "guard --serve DIRECTORY (descriptors 3, 4 and 5 from the runtime)", serve},
    {"--notify", "guard --notify (NOTIFY_SOCKET, messages on standard input)", notify},
    {"--run", "guard --run [OPTION...] -- COMMAND [ARGUMENT...] (see creche guard --help)", run},
    {"--probe", "guard --probe", probe},
};
enum { MODES = sizeof modes / sizeof *modes };

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("creche guard %s protocol %d\n", VERSION, PROTOCOL);
    return 0;
  }
  for (int i = 0; i < MODES && argc > 1; i++)
    if (strcmp(argv[1], modes[i].flag) == 0) {
      int code = modes[i].run(argc - 2, argv + 2);
      if (code >= 0) return code;
    }
  fprintf(stderr, "usage: guard --version\n");
  for (int i = 0; i < MODES; i++) fprintf(stderr, "       %s\n", modes[i].usage);
  return 2;
}
