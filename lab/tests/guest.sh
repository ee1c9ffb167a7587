# Runs inside the lab, under busybox sh, as root. lab/tests/run puts the settings (VMCTOP, SECONDS_LIVE, LIVE, LATE, RECORDED,
# COST, FLIP, SECONDS_FLIP, SECONDS_SEARCH) before it. Nothing is judged here: everything is left in /out and judged outside.
T=/sys/kernel/tracing
uname -r > /out/kernel.txt
say() { echo "--- $*"; }

instances() { ls $T/instances | grep '^vmctop-'; }

# Waits until a process has an instance of its own that records exits. Fails when it ends before that.
tracing() { # PID
  i=0
  while [ $i -lt 600 ]; do
    for d in $T/instances/vmctop-*; do
      [ "$(cat "$d/tracing_on" 2>/dev/null)" = 1 ] && [ "$(cat "$d/events/kvm/kvm_exit/enable" 2>/dev/null)" = 1 ] && return 0
    done
    kill -0 "$1" 2>/dev/null || return 1
    sleep 0.1
    i=$((i+1))
  done
  return 1
}

# Waits for a file that exitgen's standard error goes to, until it says READY.
ready() { i=0; while ! grep -q READY "$1" 2>/dev/null && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done; }

# live NAME COUNTS... : vmctop triage beside exitgen, whose machine exists first and runs once vmctop traces
live() {
  name=$1; shift
  rm -f /run/go
  exitgen "$@" -name yard --wait /run/go --linger 1 > /out/$name.exitgen.json 2> /run/$name.ready & machine=$!
  ready /run/$name.ready
  $VMCTOP triage --duration "$SECONDS_LIVE" --format json > /out/$name.json 2> /out/$name.stderr & watcher=$!
  if tracing $watcher; then echo yes > /out/$name.traced; else echo no > /out/$name.traced; fi
  touch /run/go
  i=0; while [ ! -s /out/$name.exitgen.json ] && [ $i -lt 3000 ]; do sleep 0.1; i=$((i+1)); done
  kill -0 $watcher 2>/dev/null && echo yes > /out/$name.inside || echo no > /out/$name.inside
  wait $machine; wait $watcher; echo $? > /out/$name.status
  instances > /out/$name.left
}

say live
live live $LIVE

# late: the virtual machine comes into being while vmctop runs already. It lingers: one that is gone before the next tick of
# a tenth of a second is counted, but nobody can say any more whose it was.
say late
$VMCTOP triage --duration "$SECONDS_LIVE" --format json > /out/late.json 2> /out/late.stderr & watcher=$!
if tracing $watcher; then
  echo yes > /out/late.traced
  exitgen $LATE -name late --linger 1 > /out/late.exitgen.json 2>/dev/null
  kill -0 $watcher 2>/dev/null && echo yes > /out/late.inside || echo no > /out/late.inside
else
  echo no > /out/late.traced
fi
wait $watcher; echo $? > /out/late.status
instances > /out/late.left

# A control changes in the middle: exitgen rests before and after, and the counts must fall into two settings, to the exit.
say settings
rm -f /run/go
exitgen $FLIP -name flip --wait /run/go --linger 1 > /out/flip.exitgen.json 2> /run/flip.ready & machine=$!
ready /run/flip.ready
$VMCTOP triage --duration "$SECONDS_FLIP" --format json > /out/flip.json 2> /out/flip.stderr & watcher=$!
if tracing $watcher; then echo yes > /out/flip.traced; else echo no > /out/flip.traced; fi
# The search for symbols and types comes first, and takes an emulated processor some seconds.
sleep "$SECONDS_SEARCH"
touch /run/go
i=0; while [ ! -s /out/flip.exitgen.json ] && [ $i -lt 3000 ]; do sleep 0.1; i=$((i+1)); done
kill -0 $watcher 2>/dev/null && echo yes > /out/flip.inside || echo no > /out/flip.inside
wait $machine; wait $watcher; echo $? > /out/flip.status
# Exits that the VMM disabled, beside a machine that has them.
exitgen --cpuid 1 -name disabled --disable-exits 7 --wait /run/never > /dev/null 2> /run/disabled.ready & machine=$!
ready /run/disabled.ready
$VMCTOP state -p $machine --format json > /out/disabled.json 2> /out/disabled.stderr; echo $? > /out/disabled.status
kill -TERM $machine; wait $machine

# vmctop's own recordings, of every event and of the counts alone; in the first a control changes, and the vCPU's state is read.
say records
for level in events summary; do
  rm -f /run/go
  exitgen $FLIP -name $level --wait /run/go --linger 1 > /out/record-$level.exitgen.json 2> /run/record.ready & machine=$!
  ready /run/record.ready
  $VMCTOP record -o /out/record-$level.vmctop --level $level --interval 0.5 2> /out/record-$level.stderr & watcher=$!
  if tracing $watcher; then echo yes > /out/record-$level.traced; else echo no > /out/record-$level.traced; fi
  sleep "$SECONDS_SEARCH"
  touch /run/go
  wait $machine
  kill -TERM $watcher; wait $watcher; echo $? > /out/record-$level.status
done

# KVM's modules are unloaded and loaded again while vmctop records: the vendor's alone, then kvm itself too, whose events then
# have other ids. A machine runs before and after; control words have other places then.
if [ -e /sys/module/kvm_amd ]; then
  say reload
  for modules in "kvm_amd" "kvm_amd kvm"; do
    name=reload-$(echo $modules | tr ' ' -)
    $VMCTOP record -o /out/$name.vmctop --level summary --interval 0.5 2> /out/$name.stderr & watcher=$!
    if tracing $watcher; then echo yes > /out/$name.traced; else echo no > /out/$name.traced; fi
    for run in before after; do
      rm -f /run/go
      exitgen $FLIP -name $run --wait /run/go --linger 1 > /out/$name-$run.exitgen.json 2> /run/reload.ready & machine=$!
      ready /run/reload.ready
      sleep "$SECONDS_SEARCH"
      touch /run/go
      wait $machine
      [ $run = before ] || continue
      status=0
      for module in $modules; do rmmod $module || status=$?; done
      cut -d' ' -f1 /proc/modules > /out/$name.unloaded
      modprobe kvm_amd || status=$?
      echo $status > /out/$name.modprobe
    done
    kill -TERM $watcher; wait $watcher; echo $? > /out/$name.status
  done
fi

say recordings
# trace-cmd copies all of kallsyms into each file; to print that costs an emulated CPU most of a minute, and no event needs it.
mount --bind /dev/null /proc/kallsyms
trace-cmd record -q -e kvm -b 20000 -o /out/top.dat exitgen $RECORDED > /out/top.exitgen.json 2> /out/top.stderr
trace-cmd record -q -B lab -e kvm -b 20000 -o /out/instance.dat exitgen $RECORDED > /out/instance.exitgen.json 2> /out/instance.stderr
trace-cmd reset > /dev/null 2>&1
# No local APIC in the kernel: a HLT is the VMM's to wait out.
trace-cmd record -q -e kvm -b 20000 -o /out/user-hlt.dat exitgen $RECORDED --user-hlt > /out/user-hlt.exitgen.json 2> /out/user-hlt.stderr
trace-cmd reset > /dev/null 2>&1
# Two instances, one with a part of what the other has.
trace-cmd record -q -B few -e kvm:kvm_exit -e kvm:kvm_entry -b 20000 -B all -e kvm -b 20000 -o /out/two.dat exitgen $RECORDED > /out/two.exitgen.json 2> /out/two.stderr
trace-cmd reset > /dev/null 2>&1

# perf's own recordings: of the two events that it counts from, of all, packed, through a pipe. Its report goes to standard error.
perf kvm stat record -a -o /out/perf.data.guest exitgen $RECORDED > /out/perf.exitgen.json 2> /out/perf.stderr
perf kvm -i /out/perf.data.guest stat report > /out/perf.report.txt 2>&1
perf record -a -R -c 1 -z -e 'kvm:*' -o /out/packed.data exitgen $RECORDED > /out/packed.exitgen.json 2> /out/packed.stderr
perf record -a -R -c 1 -e 'kvm:*' -o - exitgen $RECORDED 2> /out/piped.stderr > /out/piped.data
umount /proc/kallsyms

# a machine that is there for what follows, and never runs
exitgen --cpuid 1 -name idle --wait /run/never > /dev/null 2> /run/idle.ready & idle=$!
ready /run/idle.ready

say signals
for signal in INT TERM HUP KILL; do
  # A shell without job control starts its background jobs with SIGINT ignored; coreutils' env undoes that.
  /usr/bin/env --default-signal=INT $VMCTOP -b -d 1 -n 100 > /out/signal-$signal.out 2> /out/signal-$signal.stderr & watcher=$!
  if tracing $watcher; then echo yes > /out/signal-$signal.traced; else echo no > /out/signal-$signal.traced; fi
  sleep 0.5
  kill -$signal $watcher
  wait $watcher; echo $? > /out/signal-$signal.status
  instances > /out/signal-$signal.left
done
$VMCTOP triage --duration 1 > /dev/null 2> /out/sweep.stderr; echo $? > /out/sweep.status
instances > /out/sweep.left

say samples
$VMCTOP doctor > /out/doctor.txt 2>&1; echo $? > /out/doctor.status
rm -f /run/go
exitgen $LATE -name sample --wait /run/go --linger 1 > /dev/null 2> /run/sample.ready & machine=$!
ready /run/sample.ready
$VMCTOP triage --duration "$SECONDS_LIVE" > /out/triage.txt 2> /out/triage.stderr & watcher=$!
tracing $watcher; touch /run/go
wait $machine; wait $watcher; echo $? > /out/triage.status

# A vCPU whose VM entry fails, on Intel: the kernel prints its VMCS by VMREAD, and vmctop reads it from memory.
dump=/sys/module/kvm_intel/parameters/dump_invalid_vmcs
if [ -e $dump ]; then
  say state
  echo Y > $dump
  modprobe msr 2>/dev/null
  exitgen --cpuid 6 --hlt 2 --mmio 5 --laps 2 --fail-entry -name broken > /dev/null 2> /out/broken.stderr & machine=$!
  i=0; while ! grep -q ENTRY-FAILED /out/broken.stderr && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
  dmesg > /out/dmesg.txt
  kill -TERM $idle; wait $idle
  $VMCTOP state --format json > /out/state.json 2> /out/state.stderr; echo $? > /out/state.status
  $VMCTOP state > /out/state.txt 2>&1
  kill -TERM $machine; wait $machine

  # A guest that wrote a VMCS of its own, and a vCPU that KVM's own ioctls describe.
  for name in nested registers; do
    exitgen --$name --cpuid 3 --linger 600 -name $name > /out/$name.exitgen.json 2> /out/$name.stderr & machine=$!
    i=0; while [ ! -s /out/$name.exitgen.json ] && kill -0 $machine 2>/dev/null && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
    $VMCTOP state --format json > /out/$name.state.json 2>> /out/$name.stderr
    $VMCTOP state > /out/$name.state.txt 2>&1
    kill -TERM $machine; wait $machine
  done
fi

# A QEMU guest whose registers are all different, paused: what vmctop reads, then what QEMU says. Twice: the second time QEMU
# turns exits off for it.
paused() { # NAME OPTIONS...
  name=$1; shift
  rm -f /run/monitor /run/serial; mkfifo /run/monitor; : > /out/$name.qmp
  qemu-system-x86_64 -name $name -M microvm,x-option-roms=off,auto-kernel-cmdline=off -accel kvm -cpu host -m 16 -nodefaults \
    -display none -serial file:/run/serial -qmp stdio -bios /registers.rom "$@" < /run/monitor > /out/$name.qmp 2> /out/$name.stderr & machine=$!
  exec 3> /run/monitor
  echo '{"execute":"qmp_capabilities"}' >&3
  i=0; while [ ! -s /run/serial ] && kill -0 $machine 2>/dev/null && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
  echo '{"execute":"stop"}' >&3
  i=0; while ! grep -q '"STOP"' /out/$name.qmp && kill -0 $machine 2>/dev/null && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
  $VMCTOP state -p $machine --format json > /out/$name.json 2>> /out/$name.stderr; echo $? > /out/$name.status
  echo '{"execute":"human-monitor-command","arguments":{"command-line":"info registers"}}' >&3
  i=0; while ! grep -q EFER /out/$name.qmp && kill -0 $machine 2>/dev/null && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done
  echo '{"execute":"quit"}' >&3
  exec 3>&-
  wait $machine
}
if [ -e /registers.rom ]; then
  say registers
  paused registers
  paused powered -overcommit cpu-pm=on
  $VMCTOP controls --host > /out/host.txt 2>&1; echo $? > /out/host.status
fi

say cost
# What an exit costs the guest: the same number of CPUID exits without tracing and at each level, three times each.
for round in 1 2 3; do
  exitgen --cpuid "$COST" | sed "s/^/none $round /" >> /out/cost.txt
  for level in minimal standard full; do
    $VMCTOP -b -d 1 -n 1000 --events $level > /dev/null 2>> /out/cost.stderr & watcher=$!
    tracing $watcher && exitgen --cpuid "$COST" | sed "s/^/$level $round /" >> /out/cost.txt
    kill -TERM $watcher 2>/dev/null; wait $watcher
  done
done
kill -TERM $idle 2>/dev/null; wait $idle
instances > /out/end.left
say end
