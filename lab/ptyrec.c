/* ptyrec: runs a terminal program on a pseudo-terminal of a chosen size, types at it, and keeps every byte it sends.
 *
 * For places that have no terminal, such as the lab with its serial line: what was kept is shown elsewhere, by `lab/screen --replay`.
 *
 *   gcc -static -O2 -Wall -Wextra -Werror -o ptyrec ptyrec.c
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
  "ptyrec: run a terminal program on a pseudo-terminal, type at it, and keep what it sends\n"
  "\n"
  "  ptyrec [-s COLSxROWS] [-t TERM] [-w SECONDS] [-k STEPS] -o RAW -- COMMAND [ARGUMENT...]\n"
  "\n"
  "  -s COLSxROWS  size of the terminal (default 120x40)\n"
  "  -t TERM       what the program sees as TERM (default xterm-256color)\n"
  "  -w SECONDS    wait after the start and after each key (default 1.5)\n"
  "  -k STEPS      separated by blanks: a key by its name (Enter Tab Esc Space Up Down Left Right Home End PgUp PgDn BSpace\n"
  "                F1...F12 C-a...C-z), other text as it is, !SECONDS waits, @COLSxROWS resizes, #NAME marks a moment\n"
  "  -o RAW        the bytes; RAW.marks gets a line \"NAME OFFSET COLS ROWS\" per mark, and one named end\n"
  "\n"
  "After the last step the program gets SIGHUP with its terminal, as when a connection breaks, and SIGKILL two seconds later.\n"
  "Exit status: the program's, 128 + signal if one ended it, 1 or 2 for trouble of ptyrec's own.\n";

static void __attribute__((noreturn)) fail(const char *what) {
  fprintf(stderr, "ptyrec: %s: %s\n", what, strerror(errno));
  exit(1);
}

static const struct { const char *name, *bytes; } keys[] = {
  {"Enter", "\r"}, {"Tab", "\t"}, {"Esc", "\033"}, {"Escape", "\033"}, {"Space", " "}, {"BSpace", "\177"},
  {"Up", "\033OA"}, {"Down", "\033OB"}, {"Right", "\033OC"}, {"Left", "\033OD"}, {"Home", "\033OH"}, {"End", "\033OF"},
  {"PgUp", "\033[5~"}, {"PgDn", "\033[6~"}, {"F1", "\033OP"}, {"F2", "\033OQ"}, {"F3", "\033OR"}, {"F4", "\033OS"},
  {"F5", "\033[15~"}, {"F6", "\033[17~"}, {"F7", "\033[18~"}, {"F8", "\033[19~"}, {"F9", "\033[20~"}, {"F10", "\033[21~"},
  {"F11", "\033[23~"}, {"F12", "\033[24~"}};

static int terminal = -1, raw = -1;
static uint64_t kept;
static pid_t child;
static int child_status;
static bool ended;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void keep(double seconds) {
  double end = now() + seconds;
  char buffer[65536];
  do {
    double left = end - now();
    struct pollfd p = {terminal, POLLIN, 0};
    if (ended || terminal < 0) return;
    int ready = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
    if (ready > 0) {
      ssize_t n = read(terminal, buffer, sizeof buffer);
      if (n <= 0) {                       /* EIO: nobody has the other side any more */
        if (n < 0 && errno == EINTR) continue;
        ended = waitpid(child, &child_status, 0) == child;
        return;
      }
      for (ssize_t at = 0; at < n;) {
        ssize_t written = write(raw, buffer + at, (size_t)(n - at));
        if (written < 0) fail("write");
        at += written;
      }
      kept += (uint64_t)n;
    }
  } while (now() < end);
}

static void type(const char *step) {
  char control[2] = {0};
  const char *text = step;
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (!strcmp(step, keys[i].name)) text = keys[i].bytes;
  if (!strncmp(step, "C-", 2) && step[2] && !step[3]) control[0] = step[2] & 0x1f, text = control;
  if (write(terminal, text, strlen(text)) < 0 && errno != EIO) fail("typing");
}

int main(int argc, char **argv) {
  struct winsize size = {.ws_row = 40, .ws_col = 120};
  const char *term = "xterm-256color", *output = NULL, *steps = "";
  double wait = 1.5;
  int option;
  while ((option = getopt(argc, argv, "+s:t:w:k:o:h")) != -1) switch (option) {
    case 's': if (sscanf(optarg, "%hux%hu", &size.ws_col, &size.ws_row) != 2) { fputs("ptyrec: -s COLSxROWS\n", stderr); return 2; } break;
    case 't': term = optarg; break;
    case 'w': wait = atof(optarg); break;
    case 'k': steps = optarg; break;
    case 'o': output = optarg; break;
    case 'h': fputs(help, stdout); return 0;
    default: return 2;
  }
  if (!output || optind == argc) { fputs(help, stderr); return 2; }
  raw = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  char marks_name[4096];
  snprintf(marks_name, sizeof marks_name, "%s.marks", output);
  FILE *marks = raw < 0 ? NULL : fopen(marks_name, "we");
  if (!marks) fail(output);

  terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal < 0 || grantpt(terminal) || unlockpt(terminal)) fail("no pseudo-terminal");
  const char *name = ptsname(terminal);
  int other = name ? open(name, O_RDWR | O_NOCTTY | O_CLOEXEC) : -1;
  if (other < 0 || ioctl(other, TIOCSWINSZ, &size)) fail("pseudo-terminal");
  child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    for (int s = 1; s < NSIG; s++) signal(s, SIG_DFL);
    setsid();
    ioctl(other, TIOCSCTTY, 0);
    dup2(other, 0), dup2(other, 1), dup2(other, 2);
    setenv("TERM", term, 1);
    unsetenv("LINES"), unsetenv("COLUMNS");
    execvp(argv[optind], argv + optind);
    fail(argv[optind]);
  }
  close(other);

  keep(wait);
  char *copy = strdup(steps), *rest = copy;
  for (char *step; (step = strsep(&rest, " ")) && !ended;) {
    if (!*step) continue;
    if (*step == '!' && step[1]) {
      keep(atof(step + 1));
      continue;
    }
    if (*step == '#' && step[1]) {
      fprintf(marks, "%s %llu %u %u\n", step + 1, (unsigned long long)kept, size.ws_col, size.ws_row);
      continue;
    }
    struct winsize wanted = size;
    if (*step == '@' && sscanf(step + 1, "%hux%hu", &wanted.ws_col, &wanted.ws_row) == 2) {
      size = wanted;
      ioctl(terminal, TIOCSWINSZ, &size);
    } else {
      type(step);
    }
    keep(wait);
  }
  free(copy);
  fprintf(marks, "end %llu %u %u\n", (unsigned long long)kept, size.ws_col, size.ws_row);
  fclose(marks);
  if (!ended) {
    kill(child, SIGHUP);
    keep(2);
  }
  close(terminal);
  for (double end = now() + 2; !ended && now() < end;) {
    ended = waitpid(child, &child_status, WNOHANG) == child;
    if (!ended) usleep(20000);
  }
  if (!ended) {
    kill(child, SIGKILL);
    waitpid(child, &child_status, 0);
  }
  return WIFEXITED(child_status) ? WEXITSTATUS(child_status) : 128 + WTERMSIG(child_status);
}
