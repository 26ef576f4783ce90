# SPDX-License-Identifier: MIT
# Completion of redmutex(1) for fish.

function __redmutex_mutexes
    redmutex list 2>/dev/null | awk 'NR > 1 && $1 !~ /\*/ { print $1 }'
end

set -l commands run acquire release exists extend info list stats top break ping
set -l none "not __fish_seen_subcommand_from $commands"

complete -c redmutex -f
complete -c redmutex -n $none -s s -l socket -r -F -d 'Socket of the daemon'
complete -c redmutex -n $none -l version -d 'Version'
complete -c redmutex -l help -d Help
complete -c redmutex -n $none -a run -d 'Run a command while holding a lock'
complete -c redmutex -n $none -a acquire -d 'Acquire a lock for a process, or for no one'
complete -c redmutex -n $none -a release -d 'Give back a lock'
complete -c redmutex -n $none -a exists -d 'Exit 0 when the mutex is locked'
complete -c redmutex -n $none -a extend -d 'Give a lock a new lease'
complete -c redmutex -n $none -a info -d 'Say who holds a mutex'
complete -c redmutex -n $none -a list -d 'Show the mutexes'
complete -c redmutex -n $none -a stats -d 'Show statistics of the daemon'
complete -c redmutex -n $none -a top -d 'Watch the mutexes'
complete -c redmutex -n $none -a break -d 'Take a lock away from whoever holds it'
complete -c redmutex -n $none -a ping -d 'See whether the daemon answers'

complete -c redmutex -n '__fish_seen_subcommand_from run acquire release exists extend info list break' -a '(__redmutex_mutexes)'
complete -c redmutex -n '__fish_seen_subcommand_from run' -a '(__fish_complete_subcommand)'
complete -c redmutex -n '__fish_seen_subcommand_from run acquire' -s n -l nonblock -d 'Fail at once when it is locked'
complete -c redmutex -n '__fish_seen_subcommand_from run acquire' -s w -l wait -x -d 'Seconds to wait'
complete -c redmutex -n '__fish_seen_subcommand_from run acquire extend' -s t -l ttl -x -d 'Seconds of lease'
complete -c redmutex -n '__fish_seen_subcommand_from run acquire' -s E -l conflict-exit-code -x -d 'Exit status when it is locked'
complete -c redmutex -n '__fish_seen_subcommand_from run' -l renew -d 'Keep the lock'
complete -c redmutex -n '__fish_seen_subcommand_from run' -l on-lost -x -a 'kill ignore' -d 'When the lock is lost'
complete -c redmutex -n '__fish_seen_subcommand_from run' -l grace -x -d 'Seconds from SIGTERM to SIGKILL'
complete -c redmutex -n '__fish_seen_subcommand_from run' -s c -l command -x -d 'Shell command'
complete -c redmutex -n '__fish_seen_subcommand_from acquire' -l pid -x -a '(__fish_complete_pids)' -d 'End with that process'
complete -c redmutex -n '__fish_seen_subcommand_from acquire' -l detach -d 'End by release or expiry'
complete -c redmutex -n '__fish_seen_subcommand_from top' -s d -l delay -x -d 'Seconds between looks'
complete -c redmutex -n '__fish_seen_subcommand_from top' -s n -l count -x -d 'Looks'
complete -c redmutex -n "not __fish_seen_subcommand_from run; and __fish_seen_subcommand_from $commands" -l json -d 'For machines'
