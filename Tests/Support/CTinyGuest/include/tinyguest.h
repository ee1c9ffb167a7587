// A guest of a few real-mode instructions on /dev/kvm, for tests: it leaves for user space an exactly known number of
// times.
#pragma once

struct tinyguest_result {
  int error;             // errno of the call that failed, or 0
  const char *failed;    // which call that was
  unsigned long outs;    // KVM_EXIT_IO seen
  int thread;            // the thread that ran the vCPU
};

// Runs `outs` times `out %al, $0x80` followed by a jump, and then `hlt`, on the calling thread.
struct tinyguest_result tinyguest_run(unsigned int outs);

// Makes a VM of one vCPU that never runs. Returns the VM's descriptor and stores the vCPU's, or returns -errno.
int tinyguest_idle(int *vcpu);

// The calling thread, gettid(2): what tinyguest_run names as its result's thread.
int tinyguest_thread(void);
