function __vmctop_should_offer_completions_for_flags_or_options -a expected_commands
    set -l non_repeating_flags_or_options $argv[2..]
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vmctop_parse_tokens
    test "$commands" = "$expected_commands"; and return $non_repeating_flags_or_options_absent
end

function __vmctop_should_offer_completions_for_positional -a expected_commands positional_index_comparison expected_positional_index
    set -l non_repeating_flags_or_options
    set -l non_repeating_flags_or_options_absent 0
    set -l positional_index 0
    set -l commands
    __vmctop_parse_tokens
    test "$commands" = "$expected_commands" -a \( "$positional_index" "$positional_index_comparison" "$expected_positional_index" \)
end

function __vmctop_parse_tokens -S
    set -l unparsed_tokens (__vmctop_tokens -pc)
    switch $unparsed_tokens[1]
    case 'vmctop'
        __vmctop_parse_subcommand 0 'input=+' 'p/pid=' 'vcpu=' 'events=' 'buffer-size=' 'clock=' 'strict' 'd/interval=' 'n/count=' 'b/batch' 'f/filter=' 's/sort=' 'no-color' 'ascii' 'no-mouse' 'fallback-demo' 'version' 'h/help'
        switch $unparsed_tokens[1]
        case 'demo'
            __vmctop_parse_subcommand 0 'd/interval=' 'n/count=' 'b/batch' 'f/filter=' 's/sort=' 'no-color' 'ascii' 'no-mouse' 'version' 'h/help'
        case 'triage'
            __vmctop_parse_subcommand 0 'input=+' 'p/pid=' 'vcpu=' 'events=' 'buffer-size=' 'clock=' 'strict' 't/duration=' 'format=' 'demo' 'from=' 'to=' 'version' 'h/help'
        case 'record'
            __vmctop_parse_subcommand -r 1 'o/output=' 'force' 't/duration=' 'level=' 'interval=' 'max-size=' 'max-age=' 'p/pid=+' 'events=' 'buffer-size=' 'clock=' 'strict' 'version' 'h/help'
        case 'replay'
            __vmctop_parse_subcommand -r 1 'p/pid=' 'vcpu=' 'from=' 'to=' 'd/interval=' 'n/count=' 'b/batch' 'f/filter=' 's/sort=' 'no-color' 'ascii' 'no-mouse' 'strict' 'version' 'h/help'
        case 'diff'
            __vmctop_parse_subcommand 2 'from=' 'to=' 'from-b=' 'to-b=' 'format=' 'screen' 'no-color' 'ascii' 'no-mouse' 'version' 'h/help'
        case 'export'
            __vmctop_parse_subcommand -r 1 'format=' 'o/output=' 'from=' 'to=+' 'p/pid=' 'vcpu=' 'version' 'h/help'
        case 'state'
            __vmctop_parse_subcommand 0 'p/pid=' 'vcpu=' 'field=' 'ask-vmm' 'format=' 'version' 'h/help'
        case 'doctor'
            __vmctop_parse_subcommand 0 'format=' 'version' 'h/help'
        case 'fields'
            __vmctop_parse_subcommand 1 'high' 'format=' 'version' 'h/help'
        case 'controls'
            __vmctop_parse_subcommand 1 'host' 'format=' 'version' 'h/help'
        case 'reasons'
            __vmctop_parse_subcommand 1 'isa=' 'format=' 'version' 'h/help'
        case 'decode'
            __vmctop_parse_subcommand 0 'version' 'h/help'
            switch $unparsed_tokens[1]
            case 'vmcs-dump'
                __vmctop_parse_subcommand 1 'unchecked' 'format=' 'version' 'h/help'
            end
        case 'help'
            __vmctop_parse_subcommand -r 1 'version'
        end
    end
end

function __vmctop_tokens
    if test (string split -m 1 -f 1 -- . "$FISH_VERSION") -gt 3
        commandline --tokens-raw $argv
    else
        commandline -o $argv
    end
end

function __vmctop_parse_subcommand -S -a positional_count
    argparse -s r -- $argv
    set -l option_specs $argv[2..]
    set -l is_repeating_positional $_flag_r
    set -el _flag_r
    set -a commands $unparsed_tokens[1]
    set positional_index 0
    while true
        set -e unparsed_tokens[1]
        argparse -sn "$commands" $option_specs -- $unparsed_tokens 2> /dev/null
        set unparsed_tokens $argv
        set positional_index (math $positional_index + 1)
        for non_repeating_flag_or_option in $non_repeating_flags_or_options
            if set -ql "_flag_$(string replace -a - _ -- $non_repeating_flag_or_option)"
                set non_repeating_flags_or_options_absent 1
                break
            end
        end
        test (count $unparsed_tokens) -eq 0 -o \( -z "$is_repeating_positional" -a "$positional_index" -gt "$positional_count" \) && break
    end
end

function __vmctop_complete_directories
    set -l token (commandline -t)
    string match -- '*/' $token
    set -l subdirs $token*/
    printf %s\n $subdirs
end

function __vmctop_custom_completion
    set -x SAP_SHELL fish
    set -x SAP_SHELL_VERSION $FISH_VERSION
    set -l tokens (__vmctop_tokens -p)
    if test -z "$(__vmctop_tokens -t)"
        set -l index (count (__vmctop_tokens -pc))
        set tokens $tokens[..$index] \'\' $tokens[(math $index + 1)..]
    end
    command $tokens[1] $argv $tokens
end

complete -c 'vmctop' -f
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop"' -l 'input' -d 'Read a recording (trace.dat of trace-cmd, perf.data of perf) instead of tracing; several of one host count as one.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" p pid' -s 'p' -l 'pid' -d 'Only the VMs of these processes; of a recording, also the vCPUs of these threads.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" vcpu' -l 'vcpu' -d 'Only the vCPUs of these numbers.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" events' -l 'events' -d 'Which events to trace: exit and entry only, with details and the time split, or all of KVM; default standard.' -rfka 'minimal standard full'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" buffer-size' -l 'buffer-size' -d 'Size of the trace buffer of each CPU.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" clock' -l 'clock' -d 'The clock of the trace; default mono.' -rfka 'local global mono boot tai perf mono_raw'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" strict' -l 'strict' -d 'End with status 6 if events were lost.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" d interval' -s 'd' -l 'interval' -d 'Time between two updates, 0.1 to 3600.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" count n' -s 'n' -l 'count' -d 'End after so many intervals.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" b batch' -l 'batch' -s 'b' -d 'Print the main table each interval, as where standard output is no terminal.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" f filter' -s 'f' -l 'filter' -d 'Only the exit reasons whose name matches.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" s sort' -s 's' -l 'sort' -d 'Sort by this column, such as exits, time, p99.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" no-color' -l 'no-color' -d 'No colours; the same as NO_COLOR in the environment.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" ascii' -l 'ascii' -d 'Draw with ASCII characters only.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" no-mouse' -l 'no-mouse' -d 'Leave the mouse to the terminal.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" fallback-demo' -l 'fallback-demo' -d 'Play the bundled recording where no guest runs or tracing is not allowed; the title line says so.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'demo' -d 'Open the screen on the bundled recording: a QEMU guest booting on a kvm_intel host.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'triage' -d 'Count for a while, then print one page: what exits, which control causes it, what to do.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'record' -d 'Record this host\'s exits, and all that is known beside them, into a file or a pipe.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'replay' -d 'Open the screen on a recording: play, pause, step, jump, and count any part of it.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'diff' -d 'Compare two recordings, or two parts of one: exits per second, time per exit, and which controls changed.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'export' -d 'Write a recording in the form of another tool: trace-cmd, KernelShark, Perfetto, a table, metrics.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'state' -d 'Print what is in the VMCS or VMCB of every vCPU now, each value with where it is from.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'doctor' -d 'Say which sources this host offers, and how to enable those that are missing.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'fields' -d 'Look up VMCS fields.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'controls' -d 'Look up control bits, bitmaps, masks and intercepts.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'reasons' -d 'Look up exit reasons: what causes them, what they are charged to, which knobs change them.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'decode' -d 'Take a raw value, or the kernel\'s dump of a VMCS, apart.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop" -eq 1' -fa 'help' -d 'Show subcommand help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" d interval' -s 'd' -l 'interval' -d 'Time between two updates, 0.1 to 3600.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" count n' -s 'n' -l 'count' -d 'End after so many intervals.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" b batch' -l 'batch' -s 'b' -d 'Print the main table each interval, as where standard output is no terminal.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" f filter' -s 'f' -l 'filter' -d 'Only the exit reasons whose name matches.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" s sort' -s 's' -l 'sort' -d 'Sort by this column, such as exits, time, p99.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" no-color' -l 'no-color' -d 'No colours; the same as NO_COLOR in the environment.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" ascii' -l 'ascii' -d 'Draw with ASCII characters only.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" no-mouse' -l 'no-mouse' -d 'Leave the mouse to the terminal.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop demo" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage"' -l 'input' -d 'Read a recording (trace.dat of trace-cmd, perf.data of perf) instead of tracing; several of one host count as one.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" p pid' -s 'p' -l 'pid' -d 'Only the VMs of these processes; of a recording, also the vCPUs of these threads.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" vcpu' -l 'vcpu' -d 'Only the vCPUs of these numbers.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" events' -l 'events' -d 'Which events to trace: exit and entry only, with details and the time split, or all of KVM; default standard.' -rfka 'minimal standard full'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" buffer-size' -l 'buffer-size' -d 'Size of the trace buffer of each CPU.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" clock' -l 'clock' -d 'The clock of the trace; default mono.' -rfka 'local global mono boot tai perf mono_raw'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" strict' -l 'strict' -d 'End with status 6 if events were lost.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" duration t' -s 't' -l 'duration' -d 'How long to count, 10 by default; a recording is counted whole.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" format' -l 'format' -d 'A page for people, or one JSON object.' -rfka 'text json'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" demo' -l 'demo' -d 'Count the bundled recording.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" from' -l 'from' -d 'Only exits from this point of the recording on: 12.5, 1:02.5, +500ms, 3m ago, 14:02:31 or 50%.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" to to-time' -l 'to' -l 'to-time' -d 'Only exits up to this point; +5s counts from --from.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop triage" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" o output' -l 'output' -s 'o' -d 'The file, or \'-\' for standard output; default vmctop-HOST-DATE.vmctop.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" force' -l 'force' -d 'Overwrite a file that is there.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" duration t' -s 't' -l 'duration' -d 'How long to record.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" level' -l 'level' -d 'Every event, or only what was counted in each interval.' -rfka 'events summary'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" interval' -l 'interval' -d 'How much time what was counted, and the state of the vCPUs, is noted for at once, 0.1 to 3600; default 1, of a summary 5.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" max-size' -l 'max-size' -d 'Keep no more than so many bytes (K, M, G): the oldest part goes as recording goes on.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" max-age' -l 'max-age' -d 'Keep no more than the last so many seconds (m, h, d).' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record"' -s 'p' -l 'pid' -d 'Only the VMs of these processes; may be given again.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" events' -l 'events' -d 'Which events: exit and entry only, with details and the time split, or all of KVM; default standard.' -rfka 'minimal standard full'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" buffer-size' -l 'buffer-size' -d 'Size of the trace buffer of each CPU.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" clock' -l 'clock' -d 'The clock of the trace; default mono.' -rfka 'local global mono boot tai perf mono_raw'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" strict' -l 'strict' -d 'End with status 6 if events were lost.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop record" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop replay" -ge 1' -F
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" p pid' -s 'p' -l 'pid' -d 'Only the VMs of these processes, or the vCPUs of these threads.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" vcpu' -l 'vcpu' -d 'Only the vCPUs of these numbers.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" from' -l 'from' -d 'Only exits from this point of the recording on: 12.5, 1:02.5, +500ms, 3m ago, 14:02:31 or 50%.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" to to-time' -l 'to' -l 'to-time' -d 'Only exits up to this point; +5s counts from --from.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" d interval' -s 'd' -l 'interval' -d 'Time between two updates, 0.1 to 3600.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" count n' -s 'n' -l 'count' -d 'End after so many intervals.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" b batch' -l 'batch' -s 'b' -d 'Print the main table each interval, as where standard output is no terminal.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" f filter' -s 'f' -l 'filter' -d 'Only the exit reasons whose name matches.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" s sort' -s 's' -l 'sort' -d 'Sort by this column, such as exits, time, p99.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" no-color' -l 'no-color' -d 'No colours; the same as NO_COLOR in the environment.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" ascii' -l 'ascii' -d 'Draw with ASCII characters only.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" no-mouse' -l 'no-mouse' -d 'Leave the mouse to the terminal.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" strict' -l 'strict' -d 'End with status 6 if events were lost.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop replay" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop diff" -eq 1' -F
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop diff" -eq 2' -F
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" from' -l 'from' -d 'Only exits from this point of the recording on: 12.5, 1:02.5, +500ms, 3m ago, 14:02:31 or 50%.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" to to-time' -l 'to' -l 'to-time' -d 'Only exits up to this point; +5s counts from --from.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" from-b' -l 'from-b' -d 'Where the part of the second begins.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" to-b' -l 'to-b' -d 'Where it ends.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" format' -l 'format' -d 'A page for people, or one JSON object.' -rfka 'text json'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" screen' -l 'screen' -d 'Open the screen on the second recording, with the first as what it is compared with.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" no-color' -l 'no-color' -d 'No colours; the same as NO_COLOR in the environment.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" ascii' -l 'ascii' -d 'Draw with ASCII characters only.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" no-mouse' -l 'no-mouse' -d 'Leave the mouse to the terminal.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop diff" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop export" format' -l 'format' -d 'What to write.' -rfka 'trace.dat jsonl csv perfetto openmetrics'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop export" o output' -s 'o' -l 'output' -d 'Where to; - is standard output, the default for all but trace.dat.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop export" from' -l 'from' -d 'Only events from this point on: 12.5, 1:02.5, +500ms, 3m ago, 14:02:31 or 50%.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop export"' -l 'to' -l 'to-time' -d 'Only events up to this point; +5s counts from --from.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop export" p pid' -s 'p' -l 'pid' -d 'Only the VMs of these processes, or the vCPUs of these threads.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop export" vcpu' -l 'vcpu' -d 'Only the vCPUs of these numbers.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop export" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop export" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop state" p pid' -s 'p' -l 'pid' -d 'Only the VMs of these processes.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop state" vcpu' -l 'vcpu' -d 'Only the vCPUs of these numbers.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop state" field' -l 'field' -d 'Only the fields whose name, encoding or VMCB offset matches.' -rfka ''
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop state" ask-vmm' -l 'ask-vmm' -d 'Ask QEMU too, by QMP, and compare. Disturbs: each vCPU shown is kicked out of guest mode once.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop state" format' -l 'format' -d 'Text for people, or one JSON object.' -rfka 'text json'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop state" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop state" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop doctor" format' -l 'format' -d 'Text for people, or one JSON object.' -rfka 'text json'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop doctor" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop doctor" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop fields" high' -l 'high' -d 'List the upper halves of 64-bit fields too.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop fields" format' -l 'format' -d 'text or json.' -rfka 'text json'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop fields" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop fields" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop controls" host' -l 'host' -d 'What KVM settled on here (vmcs_config; on AMD the intercepts of every vCPU), what the processor allows, and what is behind each bit. Needs root.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop controls" format' -l 'format' -d 'text or json.' -rfka 'text json'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop controls" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop controls" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop reasons" isa' -l 'isa' -d 'vmx or svm only.' -rfka 'vmx svm'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop reasons" format' -l 'format' -d 'text or json.' -rfka 'text json'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop reasons" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop reasons" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop decode" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop decode" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_positional "vmctop decode" -eq 1' -fa 'vmcs-dump' -d 'Find out why VM entry failed, from the kernel\'s log.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop decode vmcs-dump" unchecked' -l 'unchecked' -d 'List the rules that could not be checked, and what they lack.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop decode vmcs-dump" format' -l 'format' -d 'text or json.' -rfka 'text json'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop decode vmcs-dump" version' -l 'version' -d 'Show the version.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop decode vmcs-dump" h help' -s 'h' -l 'help' -d 'Show help information.'
complete -c 'vmctop' -n '__vmctop_should_offer_completions_for_flags_or_options "vmctop help" version' -l 'version' -d 'Show the version.'
