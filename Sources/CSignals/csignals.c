#define _GNU_SOURCE
#include "csignals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

enum { INSTANCES = 16, PATH_BYTES = 512, TERMINAL_BYTES = 1024, SIGNALS = 65 };

struct instance {
  atomic_int used;  // 0 free, 1 being filled, 2 valid
  char folder[PATH_BYTES];
  char tracing_on[PATH_BYTES + 16];
  int capacity;
  atomic_int *descriptors;  // -1: empty; kept when the slot is freed, a handler may be reading it
};

static struct instance instances[INSTANCES];

static struct {
  atomic_int used;
  int descriptor;
  size_t length;
  char bytes[TERMINAL_BYTES];
  int has_modes;
  struct termios modes;
} terminal;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // never taken in a handler
static atomic_int installed;
static atomic_int owner;
static atomic_int cleaning;
static struct sigaction previous[SIGNALS];
static char main_alternate_stack[65536];

static atomic_int exit_descriptor = -1;
static atomic_int exit_received;
static atomic_int exit_wanted[SIGNALS];

static void clean_up(void) {
  // A child between fork and exec must not undo its parent's work.
  if (getpid() != atomic_load(&owner)) return;
  if (atomic_exchange(&cleaning, 1)) {
    poll(NULL, 0, 2000);  // another thread is at it and will end the process
    return;
  }
  if (atomic_exchange(&terminal.used, 0) == 2) {
    size_t done = 0;
    for (int tries = 0; done < terminal.length && tries < 100; tries++) {
      ssize_t count = write(terminal.descriptor, terminal.bytes + done, terminal.length - done);
      if (count > 0) done += (size_t)count;
      else if (errno == EAGAIN) poll(NULL, 0, 1);
      else if (errno != EINTR) break;
    }
    if (terminal.has_modes) tcsetattr(terminal.descriptor, TCSANOW, &terminal.modes);
  }
  for (int index = 0; index < INSTANCES; index++) {
    struct instance *instance = &instances[index];
    if (atomic_exchange(&instance->used, 0) != 2) continue;
    int file = open(instance->tracing_on, O_WRONLY | O_CLOEXEC);
    if (file >= 0) {
      ssize_t ignored = write(file, "0", 1);
      (void)ignored;
      close(file);
    }
    for (int slot = 0; slot < instance->capacity; slot++) {
      int descriptor = atomic_exchange(&instance->descriptors[slot], -1);
      if (descriptor >= 0) close(descriptor);
    }
    // Another thread may still be inside a read, which holds the file until it returns.
    for (int tries = 0; tries < 200; tries++) {
      if (rmdir(instance->folder) == 0 || errno != EBUSY) break;
      poll(NULL, 0, 2);
    }
  }
  atomic_store(&cleaning, 0);
}

static void at_exit(void) { clean_up(); }

static void on_signal(int number, siginfo_t *information, void *context) {
  (void)context;
  int saved = errno;
  if (atomic_load(&exit_wanted[number]) && getpid() == atomic_load(&owner)) {
    int none = 0;
    if (atomic_compare_exchange_strong(&exit_received, &none, number)) {
      unsigned long long one = 1;
      int descriptor = atomic_load(&exit_descriptor);
      if (descriptor >= 0) {
        ssize_t ignored = write(descriptor, &one, sizeof one);
        (void)ignored;
        errno = saved;
        return;
      }
    }
  }
  clean_up();
  // The former handler, such as the Swift runtime's backtracer, or the default action comes next.
  if (previous[number].sa_handler == SIG_IGN) signal(number, SIG_DFL);
  else sigaction(number, &previous[number], NULL);
  int is_fault = number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE;
  // A hardware fault happens again on return, with its true address; anything else is sent again.
  if (!(is_fault && information != NULL && information->si_code > 0)) raise(number);
  errno = saved;
}

static const int fatal_signals[] = {
  SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGPIPE, SIGTERM,
  SIGXCPU, SIGXFSZ, SIGSYS, SIGALRM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF,
};

int csignals_install(void) {
  pthread_mutex_lock(&lock);
  int result = 0;
  if (atomic_load(&installed)) goto out;
  atomic_store(&owner, getpid());
  stack_t present;
  if (sigaltstack(NULL, &present) == 0 && (present.ss_flags & SS_DISABLE)) {
    stack_t stack = {.ss_sp = main_alternate_stack, .ss_size = sizeof main_alternate_stack};
    sigaltstack(&stack, NULL);
  }
  for (size_t index = 0; index < sizeof fatal_signals / sizeof *fatal_signals; index++) {
    int number = fatal_signals[index];
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigfillset(&action.sa_mask);
    if (sigaction(number, NULL, &previous[number]) != 0) { result = -errno; goto out; }
    if (previous[number].sa_handler == SIG_IGN) continue;
    if (sigaction(number, &action, NULL) != 0) { result = -errno; goto out; }
  }
  atexit(at_exit);
  atomic_store(&installed, 1);
out:
  pthread_mutex_unlock(&lock);
  return result;
}

static _Thread_local void *own_alternate_stack;

void csignals_thread_begin(const char *name) {
  pthread_setname_np(pthread_self(), name);
  stack_t present;
  if (sigaltstack(NULL, &present) != 0 || !(present.ss_flags & SS_DISABLE)) return;
  stack_t stack = {.ss_size = 65536};
  stack.ss_sp = malloc(stack.ss_size);
  if (stack.ss_sp == NULL) return;
  if (sigaltstack(&stack, NULL) == 0) own_alternate_stack = stack.ss_sp;
  else free(stack.ss_sp);
}

void csignals_thread_end(void) {
  if (own_alternate_stack == NULL) return;
  stack_t none = {.ss_flags = SS_DISABLE};
  if (sigaltstack(&none, NULL) != 0) return;
  free(own_alternate_stack);
  own_alternate_stack = NULL;
}

int csignals_instance_open(const char *folder, int maximum) {
  size_t length = strlen(folder);
  if (length >= PATH_BYTES || maximum < 1 || maximum > 1 << 20) return -EINVAL;
  pthread_mutex_lock(&lock);
  int result = -ENOSPC;
  for (int index = 0; index < INSTANCES; index++) {
    struct instance *instance = &instances[index];
    int none = 0;
    if (!atomic_compare_exchange_strong(&instance->used, &none, 1)) continue;
    if (instance->capacity < maximum) {
      atomic_int *descriptors = malloc(sizeof(atomic_int) * (size_t)maximum);
      if (descriptors == NULL) {
        atomic_store(&instance->used, 0);
        result = -ENOMEM;
        break;
      }
      instance->descriptors = descriptors;  // a smaller former array is left: a few bytes, once
      instance->capacity = maximum;
    }
    for (int slot = 0; slot < instance->capacity; slot++) atomic_store(&instance->descriptors[slot], -1);
    memcpy(instance->folder, folder, length + 1);
    memcpy(instance->tracing_on, folder, length);
    memcpy(instance->tracing_on + length, "/tracing_on", sizeof "/tracing_on");
    atomic_store(&owner, getpid());
    atomic_store(&instance->used, 2);
    result = index;
    break;
  }
  pthread_mutex_unlock(&lock);
  return result;
}

int csignals_instance_hold(int slot, int descriptor) {
  if (slot < 0 || slot >= INSTANCES || descriptor < 0) return -EINVAL;
  struct instance *instance = &instances[slot];
  for (int index = 0; index < instance->capacity; index++) {
    int none = -1;
    if (atomic_compare_exchange_strong(&instance->descriptors[index], &none, descriptor)) return 0;
  }
  return -ENOSPC;
}

void csignals_instance_release(int slot, int descriptor) {
  if (slot < 0 || slot >= INSTANCES || descriptor < 0) return;
  struct instance *instance = &instances[slot];
  for (int index = 0; index < instance->capacity; index++) {
    int expected = descriptor;
    if (atomic_compare_exchange_strong(&instance->descriptors[index], &expected, -1)) return;
  }
}

void csignals_instance_close(int slot) {
  if (slot < 0 || slot >= INSTANCES) return;
  int valid = 2;
  atomic_compare_exchange_strong(&instances[slot].used, &valid, 0);
}

int csignals_terminal_set(int descriptor, const void *bytes, size_t length) {
  if (length > TERMINAL_BYTES) return -EINVAL;
  pthread_mutex_lock(&lock);
  int was_set = atomic_exchange(&terminal.used, 1) == 2;
  terminal.descriptor = descriptor;
  terminal.length = length;
  if (length > 0) memcpy(terminal.bytes, bytes, length);
  // Noted again once the bytes are known: the modes stay those from before the first change.
  if (!was_set) terminal.has_modes = tcgetattr(descriptor, &terminal.modes) == 0;
  atomic_store(&owner, getpid());
  atomic_store(&terminal.used, 2);
  pthread_mutex_unlock(&lock);
  return 0;
}

void csignals_terminal_clear(void) { atomic_store(&terminal.used, 0); }

int csignals_exit_install(const int *signals, int count) {
  int result = csignals_install();
  if (result != 0) return result;
  pthread_mutex_lock(&lock);
  if (atomic_load(&exit_descriptor) < 0) {
    int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (descriptor < 0) {
      result = -errno;
      pthread_mutex_unlock(&lock);
      return result;
    }
    atomic_store(&exit_descriptor, descriptor);
    atomic_store(&exit_received, 0);
  }
  for (int index = 0; index < count; index++) {
    if (signals[index] > 0 && signals[index] < SIGNALS) atomic_store(&exit_wanted[signals[index]], 1);
  }
  result = atomic_load(&exit_descriptor);
  pthread_mutex_unlock(&lock);
  // Whoever started us may have had them blocked, as a worker thread has, and that is inherited.
  sigset_t wanted;
  sigemptyset(&wanted);
  for (int index = 0; index < count; index++) sigaddset(&wanted, signals[index]);
  pthread_sigmask(SIG_UNBLOCK, &wanted, NULL);
  return result;
}

int csignals_exit_received(void) { return atomic_load(&exit_received); }

void csignals_exit_uninstall(void) {
  pthread_mutex_lock(&lock);
  for (int number = 0; number < SIGNALS; number++) atomic_store(&exit_wanted[number], 0);
  int descriptor = atomic_exchange(&exit_descriptor, -1);
  if (descriptor >= 0) close(descriptor);
  atomic_store(&exit_received, 0);
  pthread_mutex_unlock(&lock);
}
