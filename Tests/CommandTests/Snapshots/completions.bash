#!/bin/bash

__vmctop_cursor_index_in_current_word() {
    local remaining="${COMP_LINE}"

    local word
    for word in "${COMP_WORDS[@]::COMP_CWORD}"; do
        remaining="${remaining##*([[:space:]])"${word}"*([[:space:]])}"
    done

    local -ir index="$((COMP_POINT - ${#COMP_LINE} + ${#remaining}))"
    if [[ "${index}" -le 0 ]]; then
        printf 0
    else
        printf %s "${index}"
    fi
}

# positional arguments:
#
# - 1: the current (sub)command's count of positional arguments
#
# required variables:
#
# - repeating_flags: the repeating flags that the current (sub)command can accept
# - non_repeating_flags: the non-repeating flags that the current (sub)command can accept
# - repeating_options: the repeating options that the current (sub)command can accept
# - non_repeating_options: the non-repeating options that the current (sub)command can accept
# - positional_number: value ignored
# - unparsed_words: unparsed words from the current command line
#
# modified variables:
#
# - non_repeating_flags: remove flags for this (sub)command that are already on the command line
# - non_repeating_options: remove options for this (sub)command that are already on the command line
# - positional_number: set to the current positional number
# - unparsed_words: remove all flags, options, and option values for this (sub)command
__vmctop_offer_flags_options() {
    local -ir positional_count="${1}"
    positional_number=0

    local was_flag_option_terminator_seen=false
    local is_parsing_option_value=false

    local -ar unparsed_word_indices=("${!unparsed_words[@]}")
    local -i word_index
    for word_index in "${unparsed_word_indices[@]}"; do
        if "${is_parsing_option_value}"; then
            # This word is an option value:
            # Reset marker for next word iff not currently the last word
            [[ "${word_index}" -ne "${unparsed_word_indices[${#unparsed_word_indices[@]} - 1]}" ]] && is_parsing_option_value=false
            unset "unparsed_words[${word_index}]"
            # Do not process this word as a flag or an option
            continue
        fi

        local word="${unparsed_words["${word_index}"]}"
        if ! "${was_flag_option_terminator_seen}"; then
            case "${word}" in
            --)
                unset "unparsed_words[${word_index}]"
                # by itself -- is a flag/option terminator, but if it is the last word, it is the start of a completion
                if [[ "${word_index}" -ne "${unparsed_word_indices[${#unparsed_word_indices[@]} - 1]}" ]]; then
                    was_flag_option_terminator_seen=true
                fi
                continue
                ;;
            -*)
                # ${word} is a flag or an option
                # If ${word} is an option, mark that the next word to be parsed is an option value
                local option
                for option in "${repeating_options[@]}" "${non_repeating_options[@]}"; do
                    [[ "${word}" = "${option}" ]] && is_parsing_option_value=true && break
                done

                # Remove ${word} from ${non_repeating_flags} or ${non_repeating_options} so it isn't offered again
                local not_found=true
                local -i index
                for index in "${!non_repeating_flags[@]}"; do
                    if [[ "${non_repeating_flags[${index}]}" = "${word}" ]]; then
                        unset "non_repeating_flags[${index}]"
                        non_repeating_flags=("${non_repeating_flags[@]}")
                        not_found=false
                        break
                    fi
                done
                if "${not_found}"; then
                    for index in "${!non_repeating_flags[@]}"; do
                        if [[ "${non_repeating_flags[${index}]}" = "${word}" ]]; then
                            unset "non_repeating_flags[${index}]"
                            non_repeating_flags=("${non_repeating_flags[@]}")
                            break
                        fi
                    done
                fi
                unset "unparsed_words[${word_index}]"
                continue
                ;;
            esac
        fi

        # ${word} is neither a flag, nor an option, nor an option value
        if [[ "${positional_number}" -lt "${positional_count}" || "${positional_count}" -lt 0 ]]; then
            # ${word} is a positional
            ((positional_number++))
            unset "unparsed_words[${word_index}]"
        else
            if [[ -z "${word}" ]]; then
                # Could be completing a flag, option, or subcommand
                positional_number=-1
            else
                # ${word} is a subcommand or invalid, so stop processing this (sub)command
                positional_number=-2
            fi
            break
        fi
    done

    unparsed_words=("${unparsed_words[@]}")

    if\
        ! "${was_flag_option_terminator_seen}"\
        && ! "${is_parsing_option_value}"\
        && [[ ("${cur}" = -* && "${positional_number}" -ge 0) || "${positional_number}" -eq -1 ]]
    then
        COMPREPLY+=($(compgen -W "${repeating_flags[*]} ${non_repeating_flags[*]} ${repeating_options[*]} ${non_repeating_options[*]}" -- "${cur}"))
    fi
}

__vmctop_add_completions() {
    local completion
    while IFS='' read -r completion; do
        COMPREPLY+=("${completion}")
    done < <(IFS=$'\n' compgen "${@}" -- "${cur}")
}

__vmctop_custom_complete() {
    if [[ -n "${cur}" || -z ${COMP_WORDS[${COMP_CWORD}]} || "${COMP_LINE:${COMP_POINT}:1}" != ' ' ]]; then
        local -ar words=("${COMP_WORDS[@]}")
    else
        local -ar words=("${COMP_WORDS[@]::${COMP_CWORD}}" '' "${COMP_WORDS[@]:${COMP_CWORD}}")
    fi

    "${COMP_WORDS[0]}" "${@}" "${words[@]}"
}

_vmctop() {
    local state
    state="$(shopt -p;shopt -po)"
    trap "${state//$'\n'/;}" RETURN
    shopt -s extglob
    set +o history +o posix

    local -xr SAP_SHELL=bash
    local -x SAP_SHELL_VERSION
    SAP_SHELL_VERSION="$(IFS='.';printf %s "${BASH_VERSINFO[*]}")"
    local -r SAP_SHELL_VERSION

    local -r cur="${2}"
    local -r prev="${3}"

    local -i positional_number
    local -a unparsed_words=("${COMP_WORDS[@]:1:${COMP_CWORD}}")

    local -a repeating_flags=()
    local -a non_repeating_flags=(--strict --batch -b --no-color --ascii --no-mouse --fallback-demo --version -h --help)
    local -a repeating_options=(--input)
    local -a non_repeating_options=(-p --pid --vcpu --events --buffer-size --clock -d --interval -n --count -f --filter -s --sort)
    __vmctop_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--input')
        return
        ;;
    '-p'|'--pid')
        return
        ;;
    '--vcpu')
        return
        ;;
    '--events')
        __vmctop_add_completions -W 'minimal'$'\n''standard'$'\n''full'
        return
        ;;
    '--buffer-size')
        return
        ;;
    '--clock')
        __vmctop_add_completions -W 'local'$'\n''global'$'\n''mono'$'\n''boot'$'\n''tai'$'\n''perf'$'\n''mono_raw'
        return
        ;;
    '-d'|'--interval')
        return
        ;;
    '-n'|'--count')
        return
        ;;
    '-f'|'--filter')
        return
        ;;
    '-s'|'--sort')
        return
        ;;
    esac

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    demo|triage|record|replay|diff|export|state|doctor|fields|controls|reasons|decode|help)
        # Offer subcommand argument completions
        "_vmctop_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'demo triage record replay diff export state doctor fields controls reasons decode help' -- "${cur}"))
        ;;
    esac
}

_vmctop_demo() {
    repeating_flags=()
    non_repeating_flags=(--batch -b --no-color --ascii --no-mouse --version -h --help)
    repeating_options=()
    non_repeating_options=(-d --interval -n --count -f --filter -s --sort)
    __vmctop_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '-d'|'--interval')
        return
        ;;
    '-n'|'--count')
        return
        ;;
    '-f'|'--filter')
        return
        ;;
    '-s'|'--sort')
        return
        ;;
    esac
}

_vmctop_triage() {
    repeating_flags=()
    non_repeating_flags=(--strict --demo --version -h --help)
    repeating_options=(--input)
    non_repeating_options=(-p --pid --vcpu --events --buffer-size --clock -t --duration --format --from --to --to-time)
    __vmctop_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--input')
        return
        ;;
    '-p'|'--pid')
        return
        ;;
    '--vcpu')
        return
        ;;
    '--events')
        __vmctop_add_completions -W 'minimal'$'\n''standard'$'\n''full'
        return
        ;;
    '--buffer-size')
        return
        ;;
    '--clock')
        __vmctop_add_completions -W 'local'$'\n''global'$'\n''mono'$'\n''boot'$'\n''tai'$'\n''perf'$'\n''mono_raw'
        return
        ;;
    '-t'|'--duration')
        return
        ;;
    '--format')
        __vmctop_add_completions -W 'text'$'\n''json'
        return
        ;;
    '--from')
        return
        ;;
    '--to'|'--to-time')
        return
        ;;
    esac
}

_vmctop_record() {
    repeating_flags=()
    non_repeating_flags=(--force --strict --version -h --help)
    repeating_options=(-p --pid)
    non_repeating_options=(--output -o -t --duration --level --interval --max-size --max-age --events --buffer-size --clock)
    __vmctop_offer_flags_options -1

    # Offer option value completions
    case "${prev}" in
    '--output'|'-o')
        return
        ;;
    '-t'|'--duration')
        return
        ;;
    '--level')
        __vmctop_add_completions -W 'events'$'\n''summary'
        return
        ;;
    '--interval')
        return
        ;;
    '--max-size')
        return
        ;;
    '--max-age')
        return
        ;;
    '-p'|'--pid')
        return
        ;;
    '--events')
        __vmctop_add_completions -W 'minimal'$'\n''standard'$'\n''full'
        return
        ;;
    '--buffer-size')
        return
        ;;
    '--clock')
        __vmctop_add_completions -W 'local'$'\n''global'$'\n''mono'$'\n''boot'$'\n''tai'$'\n''perf'$'\n''mono_raw'
        return
        ;;
    esac
}

_vmctop_replay() {
    repeating_flags=()
    non_repeating_flags=(--batch -b --no-color --ascii --no-mouse --strict --version -h --help)
    repeating_options=()
    non_repeating_options=(-p --pid --vcpu --from --to --to-time -d --interval -n --count -f --filter -s --sort)
    __vmctop_offer_flags_options -1

    # Offer option value completions
    case "${prev}" in
    '-p'|'--pid')
        return
        ;;
    '--vcpu')
        return
        ;;
    '--from')
        return
        ;;
    '--to'|'--to-time')
        return
        ;;
    '-d'|'--interval')
        return
        ;;
    '-n'|'--count')
        return
        ;;
    '-f'|'--filter')
        return
        ;;
    '-s'|'--sort')
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    *)
        __vmctop_add_completions -f
        return
        ;;
    esac
}

_vmctop_diff() {
    repeating_flags=()
    non_repeating_flags=(--screen --no-color --ascii --no-mouse --version -h --help)
    repeating_options=()
    non_repeating_options=(--from --to --to-time --from-b --to-b --format)
    __vmctop_offer_flags_options 2

    # Offer option value completions
    case "${prev}" in
    '--from')
        return
        ;;
    '--to'|'--to-time')
        return
        ;;
    '--from-b')
        return
        ;;
    '--to-b')
        return
        ;;
    '--format')
        __vmctop_add_completions -W 'text'$'\n''json'
        return
        ;;
    esac

    # Offer positional completions
    case "${positional_number}" in
    1)
        __vmctop_add_completions -f
        return
        ;;
    2)
        __vmctop_add_completions -f
        return
        ;;
    esac
}

_vmctop_export() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=(--to --to-time)
    non_repeating_options=(--format -o --output --from -p --pid --vcpu)
    __vmctop_offer_flags_options -1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctop_add_completions -W 'trace.dat'$'\n''jsonl'$'\n''csv'$'\n''perfetto'$'\n''openmetrics'
        return
        ;;
    '-o'|'--output')
        return
        ;;
    '--from')
        return
        ;;
    '--to'|'--to-time')
        return
        ;;
    '-p'|'--pid')
        return
        ;;
    '--vcpu')
        return
        ;;
    esac
}

_vmctop_state() {
    repeating_flags=()
    non_repeating_flags=(--ask-vmm --version -h --help)
    repeating_options=()
    non_repeating_options=(-p --pid --vcpu --field --format)
    __vmctop_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '-p'|'--pid')
        return
        ;;
    '--vcpu')
        return
        ;;
    '--field')
        return
        ;;
    '--format')
        __vmctop_add_completions -W 'text'$'\n''json'
        return
        ;;
    esac
}

_vmctop_doctor() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--format)
    __vmctop_offer_flags_options 0

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctop_add_completions -W 'text'$'\n''json'
        return
        ;;
    esac
}

_vmctop_fields() {
    repeating_flags=()
    non_repeating_flags=(--high --version -h --help)
    repeating_options=()
    non_repeating_options=(--format)
    __vmctop_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctop_add_completions -W 'text'$'\n''json'
        return
        ;;
    esac
}

_vmctop_controls() {
    repeating_flags=()
    non_repeating_flags=(--host --version -h --help)
    repeating_options=()
    non_repeating_options=(--format)
    __vmctop_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctop_add_completions -W 'text'$'\n''json'
        return
        ;;
    esac
}

_vmctop_reasons() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=(--isa --format)
    __vmctop_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--isa')
        __vmctop_add_completions -W 'vmx'$'\n''svm'
        return
        ;;
    '--format')
        __vmctop_add_completions -W 'text'$'\n''json'
        return
        ;;
    esac
}

_vmctop_decode() {
    repeating_flags=()
    non_repeating_flags=(--version -h --help)
    repeating_options=()
    non_repeating_options=()
    __vmctop_offer_flags_options 0

    # Offer subcommand / subcommand argument completions
    local -r subcommand="${unparsed_words[0]}"
    unset 'unparsed_words[0]'
    unparsed_words=("${unparsed_words[@]}")
    case "${subcommand}" in
    vmcs-dump)
        # Offer subcommand argument completions
        "_vmctop_decode_${subcommand}"
        ;;
    *)
        # Offer subcommand completions
        COMPREPLY+=($(compgen -W 'vmcs-dump' -- "${cur}"))
        ;;
    esac
}

_vmctop_decode_vmcs-dump() {
    repeating_flags=()
    non_repeating_flags=(--unchecked --version -h --help)
    repeating_options=()
    non_repeating_options=(--format)
    __vmctop_offer_flags_options 1

    # Offer option value completions
    case "${prev}" in
    '--format')
        __vmctop_add_completions -W 'text'$'\n''json'
        return
        ;;
    esac
}

_vmctop_help() {
    repeating_flags=()
    non_repeating_flags=(--version)
    repeating_options=()
    non_repeating_options=()
    __vmctop_offer_flags_options -1
}

complete -o filenames -F _vmctop vmctop
