// The part of the clean-up that runs inside signal handlers, where Swift must not run: it may allocate, lock and
// retain at any point. Everything here that a handler calls is async-signal-safe (signal-safety(7)).
#pragma once

#include <stddef.h>

// Installs the handlers for every signal whose default action ends the process, except those the process was told to
// ignore (nohup), and an atexit function. Each cleans up, then lets the signal take its former course. May be called
// again; returns 0, or -errno.
int csignals_install(void);

// What a thread begins with: its name, of which 15 bytes count, and a stack of its own for handlers, so that even a stack
// overflow is cleaned up after.
void csignals_thread_begin(const char *name);
// What it ends with.
void csignals_thread_end(void);

// Notes a trace instance's folder, to be switched off and removed if the process ends. `maximum` bounds the descriptors
// in it that are open at a time. Returns a slot, or -errno.
int csignals_instance_open(const char *folder, int maximum);
// Notes an open descriptor inside the folder: it must be closed before the folder can be removed. Returns 0 or -errno.
int csignals_instance_hold(int slot, int descriptor);
void csignals_instance_release(int slot, int descriptor);
// Forgets the slot: the instance has been removed.
void csignals_instance_close(int slot);

// Notes what to write to a terminal before the process dies, and the terminal's modes as they are now. Called
// again before it is cleared, it keeps the modes noted first.
int csignals_terminal_set(int descriptor, const void *bytes, size_t length);
// Forgets it: the terminal has been restored.
void csignals_terminal_clear(void);

// From now on these signals only make the returned descriptor readable, once. A second one ends the process after a
// clean-up, as do all others. Returns the descriptor of an eventfd, or -errno.
int csignals_exit_install(const int *signals, int count);
// The first such signal that arrived, or 0.
int csignals_exit_received(void);
// Gives the signals back to the handlers of csignals_install and closes the descriptor.
void csignals_exit_uninstall(void);
