# SPDX-License-Identifier: MIT
# Completion of redmutex(1) for bash.

_redmutex_mutexes()
{
	"${1:-redmutex}" "${@:2}" list 2>/dev/null | awk 'NR > 1 && $1 !~ /\*/ { print $1 }'
}

_redmutex()
{
	local cur prev words cword i command= at=0 socket=()
	local commands='run acquire release exists extend info list stats top break ping'

	if declare -F _get_comp_words_by_ref >/dev/null; then
		_get_comp_words_by_ref -n : cur prev words cword
	else
		cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
		words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
	fi
	COMPREPLY=()

	for ((i = 1; i < cword; i++)); do
		case ${words[i]} in
		-s | --socket)
			socket=(-s "${words[i + 1]}")
			((i++))
			;;
		-*) ;;
		*)
			command=${words[i]} at=$i
			break
			;;
		esac
	done
	if [ -z "$command" ]; then
		case $prev in
		-s | --socket) COMPREPLY=($(compgen -f -- "$cur")) ;;
		*) COMPREPLY=($(compgen -W "$commands -s --socket --help --version" -- "$cur")) ;;
		esac
		return
	fi

	# Behind the name of the mutex comes the command of `run`.
	if [ "$command" = run ]; then
		for ((i = at + 1; i < cword; i++)); do
			case ${words[i]} in
			-w | -t | -E | -c | --wait | --timeout | --ttl | --conflict-exit-code | --command | --grace) ((i++)) ;;
			-*) ;;
			*)
				[ "${words[i + 1]}" = -- ] && ((i++))
				if ((cword > i)); then
					if declare -F _command_offset >/dev/null; then
						_command_offset $((i + 1))
					elif ((cword == i + 1)); then
						COMPREPLY=($(compgen -c -- "$cur"))
					else
						COMPREPLY=($(compgen -f -- "$cur"))
					fi
					return
				fi
				;;
			esac
		done
	fi

	case $prev in
	--pid)
		COMPREPLY=($(compgen -W '$$' -- "$cur"))
		return
		;;
	-w | -t | -E | -d | --wait | --timeout | --ttl | --conflict-exit-code | --grace | --delay | --count) return ;;
	esac
	if [[ $cur == -* ]]; then
		case $command in
		run) COMPREPLY=($(compgen -W '-n -w -t -E -c --nonblock --wait --ttl --conflict-exit-code --command --renew --on-lost=kill --on-lost=ignore --grace --help' -- "$cur")) ;;
		acquire) COMPREPLY=($(compgen -W '-n -w -t -E --nonblock --wait --ttl --conflict-exit-code --pid --detach --json --help' -- "$cur")) ;;
		extend) COMPREPLY=($(compgen -W '-t --ttl --json --help' -- "$cur")) ;;
		top) COMPREPLY=($(compgen -W '-d -n --delay --count --json --help' -- "$cur")) ;;
		*) COMPREPLY=($(compgen -W '--json --help' -- "$cur")) ;;
		esac
		return
	fi
	case $command in
	stats | top | ping) ;;
	*)
		COMPREPLY=($(compgen -W "$(_redmutex_mutexes "${words[0]}" "${socket[@]}")" -- "$cur"))
		declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
		;;
	esac
}

complete -F _redmutex redmutex
