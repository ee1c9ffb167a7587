#include "CNcurses.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <ncurses.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

// From <term.h>, which also defines macros named `columns` and `lines`.
extern char *tigetstr(const char *);

static SCREEN *screen;
static int has_colours;
static int is_utf8;
static struct termios original;
static int has_original;
static char reset_bytes[512];
static size_t reset_count;

// Colour pairs made so far: a terminal may have as few as 8, and we use about a dozen combinations.
static struct { short foreground, background; } pairs[64];
static int pair_count;

static int codeset_is_utf8(void) {
  const char *codeset = nl_langinfo(CODESET);
  return codeset && (!strcasecmp(codeset, "UTF-8") || !strcasecmp(codeset, "UTF8"));
}

// A locale that was asked for and works decides. Where none is set, or the one that is set is not installed (as often
// over ssh), C.UTF-8 is better than none. LC_CTYPE only: nothing of ours is to print a decimal comma.
static int choose_locale(void) {
  static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
  const char *asked = NULL;
  for (int i = 0; i < 3 && (!asked || !*asked); i++) asked = getenv(variables[i]);
  if (asked && *asked && setlocale(LC_CTYPE, "")) return codeset_is_utf8();
  if (setlocale(LC_CTYPE, "C.UTF-8") || setlocale(LC_CTYPE, "C.utf8")) return codeset_is_utf8();
  setlocale(LC_CTYPE, "C");
  return 0;
}

static void append_reset(const char *text) {
  // Terminfo strings may hold $<padding>; a terminal that needs it is not worth a garbled one that does not.
  while (text && *text && reset_count + 1 < sizeof reset_bytes) {
    if (text[0] == '$' && text[1] == '<') {
      const char *end = strchr(text, '>');
      if (end) { text = end + 1; continue; }
    }
    reset_bytes[reset_count++] = *text++;
  }
}

static void append_capability(const char *name) {
  const char *text = tigetstr(name);
  if (text && text != (char *)-1) append_reset(text);
}

static SCREEN *try_terminal(const char *type) {
  SCREEN *candidate = newterm(type, stdout, stdin);
  if (!candidate) return NULL;
  const char *move = tigetstr("cup");
  if (move && move != (char *)-1) return candidate;
  // Without cursor addressing (TERM=dumb) nothing can be drawn.
  endwin();
  delscreen(candidate);
  return NULL;
}

int terminal_open(int want_colours, int want_mouse, struct terminal_description *found) {
  memset(found, 0, sizeof *found);
  if (screen) terminal_close();
  is_utf8 = choose_locale();
  has_original = tcgetattr(STDIN_FILENO, &original) == 0;
  const char *types[] = {getenv("TERM"), "xterm", "vt100"};
  for (int i = 0; i < 3 && !screen; i++) {
    if (!types[i] || !*types[i]) continue;
    screen = try_terminal(types[i]);
    if (screen) strncpy(found->name, types[i], sizeof found->name - 1);
  }
  if (!screen) {
    if (has_original) tcsetattr(STDIN_FILENO, TCSANOW, &original);
    return -1;
  }
  set_escdelay(25);
  cbreak();
  noecho();
  nonl();
  keypad(stdscr, TRUE);
  scrollok(stdscr, FALSE);
  leaveok(stdscr, TRUE);
  curs_set(0);
  pair_count = 0;
  has_colours = want_colours && has_colors() && start_color() == OK;
  if (has_colours) use_default_colors();
  if (want_mouse) {
    mouseinterval(0);
    mousemask(BUTTON1_PRESSED | BUTTON1_CLICKED | BUTTON4_PRESSED | BUTTON5_PRESSED, NULL);
  }
  reset_count = 0;
  if (want_mouse) append_reset("\033[?1000l\033[?1002l\033[?1003l\033[?1006l");
  append_capability("rmkx");
  append_capability("sgr0");
  append_capability("op");
  append_capability("cnorm");
  append_capability("rmcup");
  append_reset("\r");
  found->is_utf8 = is_utf8;
  found->colours = has_colours ? COLORS : 0;
  erase();
  return 0;
}

void terminal_close(void) {
  if (!screen) return;
  endwin();
  delscreen(screen);
  screen = NULL;
  reset_count = 0;
  if (has_original) tcsetattr(STDIN_FILENO, TCSANOW, &original);
}

void terminal_suspend(void) {
  if (!screen) return;
  def_prog_mode();
  endwin();
  raise(SIGSTOP);
  reset_prog_mode();
  clearok(stdscr, TRUE);
  refresh();
}

void terminal_size(int32_t *columns, int32_t *rows) {
  struct winsize size;
  if ((ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0) && size.ws_col &&
      size.ws_row) {
    *columns = size.ws_col;
    *rows = size.ws_row;
  } else if (screen) {
    *columns = getmaxx(stdscr);
    *rows = getmaxy(stdscr);
  } else {
    *columns = 80;
    *rows = 24;
  }
}

void terminal_resize(int32_t columns, int32_t rows) {
  if (!screen || columns < 1 || rows < 1) return;
  resizeterm(rows, columns);
  terminal_clear();
}

static short colour_pair(int32_t foreground, int32_t background) {
  if (!has_colours || (foreground < 0 && background < 0)) return 0;
  for (int i = 0; i < pair_count; i++)
    if (pairs[i].foreground == foreground && pairs[i].background == background) return (short)(i + 1);
  int limit = (int)(sizeof pairs / sizeof pairs[0]);
  if (COLOR_PAIRS - 1 < limit) limit = COLOR_PAIRS - 1;
  if (pair_count >= limit || init_pair((short)(pair_count + 1), (short)foreground, (short)background) == ERR) return 0;
  pairs[pair_count].foreground = (short)foreground;
  pairs[pair_count].background = (short)background;
  return (short)++pair_count;
}

void terminal_put(
  int32_t column, int32_t row, const uint32_t *scalars, int32_t count, int32_t width, uint32_t attributes,
  int32_t foreground, int32_t background) {
  if (!screen || count < 1 || column < 0 || row < 0 || column >= getmaxx(stdscr) || row >= getmaxy(stdscr)) return;
  wchar_t text[CCHARW_MAX + 1];
  int length = 0;
  for (; length < count && length < CCHARW_MAX; length++) text[length] = (wchar_t)scalars[length];
  // The C library's idea of the width is what ncurses goes by: where it differs from ours, the columns behind would
  // shift. A control character, which has no width, never gets out either.
  if (wcwidth(text[0]) != width) {
    text[0] = L'?';
    length = 1;
  }
  text[length] = 0;
  attr_t style = 0;
  if (attributes & TERMINAL_BOLD) style |= A_BOLD;
  if (attributes & TERMINAL_DIM) style |= A_DIM;
  if (attributes & TERMINAL_REVERSE) style |= A_REVERSE;
  if (attributes & TERMINAL_UNDERLINE) style |= A_UNDERLINE;
  cchar_t cell;
  if (setcchar(&cell, text, style, colour_pair(foreground, background), NULL) == ERR) return;
  mvadd_wch(row, column, &cell);
}

void terminal_clear(void) {
  if (!screen) return;
  erase();
  clearok(stdscr, TRUE);
}

void terminal_refresh(void) {
  if (screen) refresh();
}

struct terminal_key terminal_next_key(int32_t milliseconds) {
  struct terminal_key key = {TERMINAL_NOTHING, 0, 0, 0};
  if (!screen) return key;
  timeout(milliseconds < 0 ? 0 : milliseconds);
  wint_t character = 0;
  errno = 0;
  int kind = get_wch(&character);
  if (kind == ERR) return key;
  if (kind == OK) {
    key.kind = character == '\r' || character == '\n' ? TERMINAL_ENTER : TERMINAL_CHARACTER;
    key.value = character;
    if (character == 127 || character == 8) key.kind = TERMINAL_BACKSPACE;
    return key;
  }
  switch (character) {
  case KEY_UP: key.kind = TERMINAL_UP; break;
  case KEY_DOWN: key.kind = TERMINAL_DOWN; break;
  case KEY_LEFT: key.kind = TERMINAL_LEFT; break;
  case KEY_RIGHT: key.kind = TERMINAL_RIGHT; break;
  case KEY_PPAGE: key.kind = TERMINAL_PAGE_UP; break;
  case KEY_NPAGE: key.kind = TERMINAL_PAGE_DOWN; break;
  case KEY_HOME: key.kind = TERMINAL_HOME; break;
  case KEY_END: key.kind = TERMINAL_END; break;
  case KEY_ENTER: key.kind = TERMINAL_ENTER; break;
  case KEY_BACKSPACE: key.kind = TERMINAL_BACKSPACE; break;
  case KEY_DC: key.kind = TERMINAL_DELETE; break;
  case KEY_BTAB: key.kind = TERMINAL_BACK_TAB; break;
  case KEY_RESIZE: key.kind = TERMINAL_RESIZE; break;
  case KEY_MOUSE: {
    MEVENT event;
    key.kind = TERMINAL_OTHER;
    if (getmouse(&event) == OK) {
      key.column = event.x;
      key.row = event.y;
      if (event.bstate & (BUTTON1_PRESSED | BUTTON1_CLICKED)) key.kind = TERMINAL_CLICK;
      else if (event.bstate & BUTTON4_PRESSED) key.kind = TERMINAL_WHEEL_UP;
      else if (event.bstate & BUTTON5_PRESSED) key.kind = TERMINAL_WHEEL_DOWN;
    }
    break;
  }
  default:
    if (character > KEY_F0 && character <= KEY_F(24)) {
      key.kind = TERMINAL_FUNCTION;
      key.value = character - KEY_F0;
    } else {
      key.kind = TERMINAL_OTHER;
    }
  }
  return key;
}

const char *terminal_reset_bytes(size_t *count) {
  *count = reset_count;
  return reset_bytes;
}

void terminal_emergency_reset(void) {
  if (!reset_count) return;
  size_t done = 0;
  while (done < reset_count) {
    ssize_t n = write(STDOUT_FILENO, reset_bytes + done, reset_count - done);
    if (n <= 0) break;
    done += (size_t)n;
  }
  if (has_original) tcsetattr(STDIN_FILENO, TCSANOW, &original);
}
