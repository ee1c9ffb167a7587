// A terminal behind a dozen plain functions: ncursesw stays in CNcurses.c, because its globals, macros and variadic
// functions do not pass into Swift 6. One terminal per process, used from one thread.
#ifndef VMCTOP_CNCURSES_H
#define VMCTOP_CNCURSES_H

#include <stddef.h>
#include <stdint.h>

// Attributes of a cell, to be combined.
enum {
  TERMINAL_BOLD = 1,
  TERMINAL_DIM = 2,
  TERMINAL_REVERSE = 4,
  TERMINAL_UNDERLINE = 8,
};

// What a person did.
enum {
  TERMINAL_NOTHING = 0,  // nothing is waiting
  TERMINAL_CHARACTER,    // `value` is a Unicode scalar, control characters included
  TERMINAL_UP,
  TERMINAL_DOWN,
  TERMINAL_LEFT,
  TERMINAL_RIGHT,
  TERMINAL_PAGE_UP,
  TERMINAL_PAGE_DOWN,
  TERMINAL_HOME,
  TERMINAL_END,
  TERMINAL_ENTER,
  TERMINAL_BACKSPACE,
  TERMINAL_DELETE,
  TERMINAL_BACK_TAB,
  TERMINAL_FUNCTION,   // `value` is the number: 1 is F1
  TERMINAL_CLICK,      // `column` and `row` say where, from 0
  TERMINAL_WHEEL_UP,
  TERMINAL_WHEEL_DOWN,
  TERMINAL_RESIZE,
  TERMINAL_OTHER,      // a key that nobody asked for
};

struct terminal_key {
  int32_t kind;
  uint32_t value;
  int32_t column, row;
};

// What opening a terminal found.
struct terminal_description {
  int32_t is_utf8;    // 0: only ASCII may be put
  int32_t colours;    // 0: attributes only
  char name[64];      // the terminal type in use: TERM, or what was fallen back to
};

// Takes over the terminal on stdin and stdout. An unknown TERM falls back to xterm, then vt100.
// Returns 0, or -1 when not even that is possible (no terminfo at all); the terminal is then as it was.
int terminal_open(int want_colours, int want_mouse, struct terminal_description *found);

// Gives the terminal back as it was found. Harmless when it is not open.
void terminal_close(void);

// Leaves the terminal to the shell and stops this process (what Ctrl-Z asks for); comes back when it goes on.
void terminal_suspend(void);

// The size now, as the kernel knows it.
void terminal_size(int32_t *columns, int32_t *rows);

// Makes the drawing area that large and forgets what is on it: everything must be put again.
void terminal_resize(int32_t columns, int32_t rows);

// Puts one character, `count` scalars of which all but the first are combining marks, `width` cells wide.
// `foreground` and `background` are 0...7 (black, red, green, yellow, blue, magenta, cyan, white) or -1 for the default.
void terminal_put(
  int32_t column, int32_t row, const uint32_t *scalars, int32_t count, int32_t width, uint32_t attributes,
  int32_t foreground, int32_t background);

// Empties the drawing area; the whole terminal is sent anew by the next refresh.
void terminal_clear(void);

// Sends what changed.
void terminal_refresh(void);

// The next key: waits up to `milliseconds` (0: not at all).
struct terminal_key terminal_next_key(int32_t milliseconds);

// Bytes that undo everything a terminal was asked for (mouse, keypad, alternate screen, attributes, hidden cursor), for
// an emergency in which terminal_close cannot be called. Empty before terminal_open.
const char *terminal_reset_bytes(size_t *count);

// Writes those bytes and restores the line discipline. Async-signal-safe.
void terminal_emergency_reset(void);

#endif
