#compdef vmctop

__vmctop_complete() {
    local -ar non_empty_completions=("${@:#(|:*)}")
    local -ar empty_completions=("${(M)@:#(|:*)}")
    _describe -V '' non_empty_completions -- empty_completions -P $'\'\''
}

__vmctop_custom_complete() {
    local -a completions
    completions=("${(@f)"$("${command_name}" "${@}" "${command_line[@]}")"}")
    if [[ "${#completions[@]}" -gt 1 ]]; then
        __vmctop_complete "${completions[@]:0:-1}"
    fi
}

__vmctop_cursor_index_in_current_word() {
    if [[ -z "${QIPREFIX}${IPREFIX}${PREFIX}" ]]; then
        printf 0
    else
        printf %s "${#${(z)LBUFFER}[-1]}"
    fi
}

_vmctop() {
    emulate -RL zsh -G
    setopt extendedglob nullglob numericglobsort
    unsetopt aliases banghist

    local -xr SAP_SHELL=zsh
    local -x SAP_SHELL_VERSION
    SAP_SHELL_VERSION="$(builtin emulate zsh -c 'printf %s "${ZSH_VERSION}"')"
    local -r SAP_SHELL_VERSION

    local context state state_descr line
    local -A opt_args

    local -r command_name="${words[1]}"
    local -ar command_line=("${words[@]}")
    local -ir current_word_index="$((CURRENT - 1))"

    local -i ret=1
    local -ar ___events=('minimal' 'standard' 'full')
    local -ar ___clock=('local' 'global' 'mono' 'boot' 'tai' 'perf' 'mono_raw')
    local -ar arg_specs=(
        '*--input[Read a recording (trace.dat of trace-cmd, perf.data of perf) instead of tracing; several of one host count as one.]:file:'
        '(-p --pid)'{-p,--pid}'[Only the VMs of these processes; of a recording, also the vCPUs of these threads.]:pid,...:'
        '--vcpu[Only the vCPUs of these numbers.]:n,...:'
        '--events[Which events to trace\: exit and entry only, with details and the time split, or all of KVM; default standard.]:events:{__vmctop_complete "${___events[@]}"}'
        '--buffer-size[Size of the trace buffer of each CPU.]:KiB:'
        '--clock[The clock of the trace; default mono.]:clock:{__vmctop_complete "${___clock[@]}"}'
        '--strict[End with status 6 if events were lost.]'
        '(-d --interval)'{-d,--interval}'[Time between two updates, 0.1 to 3600.]:seconds:'
        '(-n --count)'{-n,--count}'[End after so many intervals.]:count:'
        '(--batch -b)'{--batch,-b}'[Print the main table each interval, as where standard output is no terminal.]'
        '(-f --filter)'{-f,--filter}'[Only the exit reasons whose name matches.]:regex:'
        '(-s --sort)'{-s,--sort}'[Sort by this column, such as exits, time, p99.]:column:'
        '--no-color[No colours; the same as NO_COLOR in the environment.]'
        '--ascii[Draw with ASCII characters only.]'
        '--no-mouse[Leave the mouse to the terminal.]'
        '--fallback-demo[Play the bundled recording where no guest runs or tracing is not allowed; the title line says so.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
        '(-): :->command'
        '(-)*:: :->arg'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0
    case "${state}" in
    command)
        local -ar subcommands=(
            'demo:Open the screen on the bundled recording: a QEMU guest booting on a kvm_intel host.'
            'triage:Count for a while, then print one page: what exits, which control causes it, what to do.'
            'record:Record this host'\''s exits, and all that is known beside them, into a file or a pipe.'
            'replay:Open the screen on a recording: play, pause, step, jump, and count any part of it.'
            'diff:Compare two recordings, or two parts of one: exits per second, time per exit, and which controls changed.'
            'export:Write a recording in the form of another tool: trace-cmd, KernelShark, Perfetto, a table, metrics.'
            'state:Print what is in the VMCS or VMCB of every vCPU now, each value with where it is from.'
            'doctor:Say which sources this host offers, and how to enable those that are missing.'
            'fields:Look up VMCS fields.'
            'controls:Look up control bits, bitmaps, masks and intercepts.'
            'reasons:Look up exit reasons: what causes them, what they are charged to, which knobs change them.'
            'decode:Take a raw value, or the kernel'\''s dump of a VMCS, apart.'
            'help:Show subcommand help information.'
        )
        _describe -V subcommand subcommands && ret=0
        ;;
    arg)
        case "${words[1]}" in
        demo|triage|record|replay|diff|export|state|doctor|fields|controls|reasons|decode|help)
            "_vmctop_${words[1]}" && ret=0
            ;;
        esac
        ;;
    esac

    return "${ret}"
}

_vmctop_demo() {
    local -i ret=1
    local -ar arg_specs=(
        '(-d --interval)'{-d,--interval}'[Time between two updates, 0.1 to 3600.]:seconds:'
        '(-n --count)'{-n,--count}'[End after so many intervals.]:count:'
        '(--batch -b)'{--batch,-b}'[Print the main table each interval, as where standard output is no terminal.]'
        '(-f --filter)'{-f,--filter}'[Only the exit reasons whose name matches.]:regex:'
        '(-s --sort)'{-s,--sort}'[Sort by this column, such as exits, time, p99.]:column:'
        '--no-color[No colours; the same as NO_COLOR in the environment.]'
        '--ascii[Draw with ASCII characters only.]'
        '--no-mouse[Leave the mouse to the terminal.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_triage() {
    local -i ret=1
    local -ar ___events=('minimal' 'standard' 'full')
    local -ar ___clock=('local' 'global' 'mono' 'boot' 'tai' 'perf' 'mono_raw')
    local -ar ___format=('text' 'json')
    local -ar arg_specs=(
        '*--input[Read a recording (trace.dat of trace-cmd, perf.data of perf) instead of tracing; several of one host count as one.]:file:'
        '(-p --pid)'{-p,--pid}'[Only the VMs of these processes; of a recording, also the vCPUs of these threads.]:pid,...:'
        '--vcpu[Only the vCPUs of these numbers.]:n,...:'
        '--events[Which events to trace\: exit and entry only, with details and the time split, or all of KVM; default standard.]:events:{__vmctop_complete "${___events[@]}"}'
        '--buffer-size[Size of the trace buffer of each CPU.]:KiB:'
        '--clock[The clock of the trace; default mono.]:clock:{__vmctop_complete "${___clock[@]}"}'
        '--strict[End with status 6 if events were lost.]'
        '(-t --duration)'{-t,--duration}'[How long to count, 10 by default; a recording is counted whole.]:seconds:'
        '--format[A page for people, or one JSON object.]:format:{__vmctop_complete "${___format[@]}"}'
        '--demo[Count the bundled recording.]'
        '--from[Only exits from this point of the recording on\: 12.5, 1\:02.5, +500ms, 3m ago, 14\:02\:31 or 50%.]:time:'
        '(--to --to-time)'{--to,--to-time}'[Only exits up to this point; +5s counts from --from.]:time:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_record() {
    local -i ret=1
    local -ar ___level=('events' 'summary')
    local -ar ___events=('minimal' 'standard' 'full')
    local -ar ___clock=('local' 'global' 'mono' 'boot' 'tai' 'perf' 'mono_raw')
    local -ar arg_specs=(
        '(--output -o)'{--output,-o}'[The file, or '\''-'\'' for standard output; default vmctop-HOST-DATE.vmctop.]:file:'
        '--force[Overwrite a file that is there.]'
        '(-t --duration)'{-t,--duration}'[How long to record.]:seconds:'
        '--level[Every event, or only what was counted in each interval.]:level:{__vmctop_complete "${___level[@]}"}'
        '--interval[How much time what was counted, and the state of the vCPUs, is noted for at once, 0.1 to 3600; default 1, of a summary 5.]:seconds:'
        '--max-size[Keep no more than so many bytes (K, M, G)\: the oldest part goes as recording goes on.]:size:'
        '--max-age[Keep no more than the last so many seconds (m, h, d).]:time:'
        '*'{-p,--pid}'[Only the VMs of these processes; may be given again.]:pid,...:'
        '--events[Which events\: exit and entry only, with details and the time split, or all of KVM; default standard.]:events:{__vmctop_complete "${___events[@]}"}'
        '--buffer-size[Size of the trace buffer of each CPU.]:KiB:'
        '--clock[The clock of the trace; default mono.]:clock:{__vmctop_complete "${___clock[@]}"}'
        '--strict[End with status 6 if events were lost.]'
        '*:command:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_replay() {
    local -i ret=1
    local -ar arg_specs=(
        '*:file:_files'
        '(-p --pid)'{-p,--pid}'[Only the VMs of these processes, or the vCPUs of these threads.]:pid,...:'
        '--vcpu[Only the vCPUs of these numbers.]:n,...:'
        '--from[Only exits from this point of the recording on\: 12.5, 1\:02.5, +500ms, 3m ago, 14\:02\:31 or 50%.]:time:'
        '(--to --to-time)'{--to,--to-time}'[Only exits up to this point; +5s counts from --from.]:time:'
        '(-d --interval)'{-d,--interval}'[Time between two updates, 0.1 to 3600.]:seconds:'
        '(-n --count)'{-n,--count}'[End after so many intervals.]:count:'
        '(--batch -b)'{--batch,-b}'[Print the main table each interval, as where standard output is no terminal.]'
        '(-f --filter)'{-f,--filter}'[Only the exit reasons whose name matches.]:regex:'
        '(-s --sort)'{-s,--sort}'[Sort by this column, such as exits, time, p99.]:column:'
        '--no-color[No colours; the same as NO_COLOR in the environment.]'
        '--ascii[Draw with ASCII characters only.]'
        '--no-mouse[Leave the mouse to the terminal.]'
        '--strict[End with status 6 if events were lost.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_diff() {
    local -i ret=1
    local -ar ___format=('text' 'json')
    local -ar arg_specs=(
        ':before:_files'
        ':after:_files'
        '--from[Only exits from this point of the recording on\: 12.5, 1\:02.5, +500ms, 3m ago, 14\:02\:31 or 50%.]:time:'
        '(--to --to-time)'{--to,--to-time}'[Only exits up to this point; +5s counts from --from.]:time:'
        '--from-b[Where the part of the second begins.]:time:'
        '--to-b[Where it ends.]:time:'
        '--format[A page for people, or one JSON object.]:format:{__vmctop_complete "${___format[@]}"}'
        '--screen[Open the screen on the second recording, with the first as what it is compared with.]'
        '--no-color[No colours; the same as NO_COLOR in the environment.]'
        '--ascii[Draw with ASCII characters only.]'
        '--no-mouse[Leave the mouse to the terminal.]'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_export() {
    local -i ret=1
    local -ar ___format=('trace.dat' 'jsonl' 'csv' 'perfetto' 'openmetrics')
    local -ar arg_specs=(
        '*:file:'
        '--format[What to write.]:format:{__vmctop_complete "${___format[@]}"}'
        '(-o --output)'{-o,--output}'[Where to; - is standard output, the default for all but trace.dat.]:file:'
        '--from[Only events from this point on\: 12.5, 1\:02.5, +500ms, 3m ago, 14\:02\:31 or 50%.]:time:'
        '*'{--to,--to-time}'[Only events up to this point; +5s counts from --from.]:time:'
        '(-p --pid)'{-p,--pid}'[Only the VMs of these processes, or the vCPUs of these threads.]:pid,...:'
        '--vcpu[Only the vCPUs of these numbers.]:n,...:'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_state() {
    local -i ret=1
    local -ar ___format=('text' 'json')
    local -ar arg_specs=(
        '(-p --pid)'{-p,--pid}'[Only the VMs of these processes.]:pid,...:'
        '--vcpu[Only the vCPUs of these numbers.]:n,...:'
        '--field[Only the fields whose name, encoding or VMCB offset matches.]:regex:'
        '--ask-vmm[Ask QEMU too, by QMP, and compare. Disturbs\: each vCPU shown is kicked out of guest mode once.]'
        '--format[Text for people, or one JSON object.]:text|json:{__vmctop_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_doctor() {
    local -i ret=1
    local -ar ___format=('text' 'json')
    local -ar arg_specs=(
        '--format[Text for people, or one JSON object.]:text|json:{__vmctop_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_fields() {
    local -i ret=1
    local -ar ___format=('text' 'json')
    local -ar arg_specs=(
        ':field:'
        '--high[List the upper halves of 64-bit fields too.]'
        '--format[text or json.]:format:{__vmctop_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_controls() {
    local -i ret=1
    local -ar ___format=('text' 'json')
    local -ar arg_specs=(
        ':control:'
        '--host[What KVM settled on here (vmcs_config; on AMD the intercepts of every vCPU), what the processor allows, and what is behind each bit. Needs root.]'
        '--format[text or json.]:format:{__vmctop_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_reasons() {
    local -i ret=1
    local -ar ___isa=('vmx' 'svm')
    local -ar ___format=('text' 'json')
    local -ar arg_specs=(
        ':reason:'
        '--isa[vmx or svm only.]:isa:{__vmctop_complete "${___isa[@]}"}'
        '--format[text or json.]:format:{__vmctop_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_decode() {
    local -i ret=1
    local -ar arg_specs=(
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
        '(-): :->command'
        '(-)*:: :->arg'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0
    case "${state}" in
    command)
        local -ar subcommands=(
            'vmcs-dump:Find out why VM entry failed, from the kernel'\''s log.'
        )
        _describe -V subcommand subcommands && ret=0
        ;;
    arg)
        case "${words[1]}" in
        vmcs-dump)
            "_vmctop_decode_${words[1]}" && ret=0
            ;;
        esac
        ;;
    esac

    return "${ret}"
}

_vmctop_decode_vmcs-dump() {
    local -i ret=1
    local -ar ___format=('text' 'json')
    local -ar arg_specs=(
        ':file:'
        '--unchecked[List the rules that could not be checked, and what they lack.]'
        '--format[text or json.]:format:{__vmctop_complete "${___format[@]}"}'
        '--version[Show the version.]'
        '(-h --help)'{-h,--help}'[Show help information.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

_vmctop_help() {
    local -i ret=1
    local -ar arg_specs=(
        '*:subcommands:'
        '--version[Show the version.]'
    )
    _arguments -w -s -S : "${arg_specs[@]}" && ret=0

    return "${ret}"
}

if [[ "${funcstack[1]}" = _vmctop ]]; then
    _vmctop "${@}"
else
    compdef _vmctop vmctop
fi
