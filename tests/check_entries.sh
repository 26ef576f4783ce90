#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Everything that can be used has its entry in a manual page: each command of redmutex(1) and each
# option that its help names or that it takes, the options of redmutexd(8), each key that the
# configuration knows, each verb, and each function. And completion knows the commands and options.
set -euo pipefail
export LC_ALL=C

srcdir=${srcdir:-.}
redmutex=client/redmutex
failed=0
count=0

lacks()
{
	echo "$1 lacks $2"
	failed=1
}

# has_entry PAGE PATTERN WHAT: an .It or .Ss line of the page
has_entry()
{
	count=$((count + 1))
	grep -qE -- "^\.(It|Ss) (.* )?$2( |\$)" "$srcdir/$1" || lacks "$1" "$3"
}

# options_in TEXT: the options, with their dashes
options_in()
{
	grep -oE -- '(^|[ ,[|(])--?[A-Za-z][A-Za-z-]*' <<<"$1" | grep -oE -- '-[A-Za-z-]+' | sort -u
}

# completes NAME OPTION
completes()
{
	local name=$1 option=$2 word=${2#--}

	case $option in
	--*)
		grep -qE -- "$option|-l $word" "$srcdir/client/completion/redmutex.fish" || lacks redmutex.fish "$name $option"
		grep -qE -- "$option\\b" "$srcdir/client/completion/_redmutex" || lacks _redmutex "$name $option"
		grep -qE -- "$option\\b" "$srcdir/client/completion/redmutex.bash" || lacks redmutex.bash "$name $option"
		;;
	esac
}

commands=$($redmutex --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
[ -n "$commands" ]
for command in $commands; do
	has_entry client/redmutex.1 "redmutex $command" "the command $command"
	for file in redmutex.bash _redmutex redmutex.fish; do
		grep -qw "$command" "$srcdir/client/completion/$file" || lacks "$file" "$command"
	done
	for option in $(options_in "$($redmutex "$command" --help)"); do
		has_entry client/redmutex.1 "(Fl|,) ${option#-}" "the option $option of $command"
		completes "$command" "$option"
	done
done
# What getopt_long() knows, in case a help does not tell of it.
known=$(sed -n 's/^.*{"\([a-z-]*\)", [a-z]*_argument.*/\1/p' "$srcdir"/client/*.[ch] | sort -u)
for option in $known; do
	has_entry client/redmutex.1 "(Fl|,) -$option" "the option --$option"
done

for option in $(options_in "$(daemon/redmutexd --help)"); do
	has_entry daemon/redmutexd.8 "(Fl|,) ${option#-}" "the option $option"
done

keys=$(grep -oE '\.key = "[a-z_]+"' "$srcdir/daemon/conf/conf_table.c" | cut -d'"' -f2 | sort -u)
[ "$(wc -w <<<"$keys")" -gt 30 ]
for key in $keys; do
	has_entry daemon/conf/redmutexd.ini.5 "Ic $key" "the key $key"
done

verbs=$(sed -n 's/^VERB(\([A-Z]*\),.*/\1/p' "$srcdir/proto/verbs.def")
[ "$(wc -w <<<"$verbs")" -ge 12 ]
for verb in $verbs; do
	has_entry proto/redmutex-protocol.7 "Ic $verb" "the verb $verb"
done

while read -r function; do
	count=$((count + 1))
	grep -qE "^\.F[no] $function\\b" "$srcdir/client/libredmutex.3" || lacks client/libredmutex.3 "$function"
done < <(sed -n 's/^\t\(redmutex_[a-z_]*\);$/\1/p' "$srcdir/client/libredmutex.sym")

# The fields of the structs of options.
fields=$(sed -n '/^struct redmutex_[a-z]*_options {/,/^}/s/^\t[a-z].*[ *]\([a-z_]*\);$/\1/p' "$srcdir/client/redmutex.h")
[ "$(wc -w <<<"$fields")" -ge 12 ]
for field in $fields; do
	[ "$field" = size ] || has_entry client/libredmutex.3 "Va $field" "the field $field"
done

echo "$count entries were looked for"
[ "$count" -gt 150 ]
exit $failed
