
# The names that the appliance has, of which the word is the beginning. Nothing of them is expanded. $1: what kind; $2: the word
_appliance_names() {
  local name
  while IFS= read -r name; do
    [[ $name == "$2"* ]] && printf '%s\n' "$name"
  done < <(appliance completion "$1" -- "${COMP_WORDS[@]}" 2>/dev/null </dev/null)
}

# Bash ends words at `:` and `=`. This puts addresses and assignments together again, and takes --option=VALUE as two words.
_appliance_complete() {
  local whole=() glue="" word place=0 i last="${COMP_WORDS[COMP_CWORD]}"
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    if [[ $word == = && ${whole[${#whole[@]}-1]-} == --* ]]; then
      glue=""
      ((i == COMP_CWORD)) && whole+=("")
    elif [[ $i -gt 1 && ( $word == [:=]* || -n $glue ) && ${whole[${#whole[@]}-1]-} != -* ]]; then
      whole[${#whole[@]}-1]+=$word
      glue=""
      [[ $word == *[:=] ]] && glue=yes
    else
      whole+=("$word")
      glue=""
    fi
  done
  place=$((${#whole[@]} - 1))
  local COMP_WORDS=("${whole[@]}") COMP_CWORD=$place
  _shtab_appliance "$@"
  word="${COMP_WORDS[COMP_CWORD]}"
  local head="${word%"${word##*[:=]}"}"
  if [[ -n $head ]]; then
    for i in "${!COMPREPLY[@]}"; do
      COMPREPLY[i]="${COMPREPLY[i]#"$head"}"
    done
  fi
}

complete -o bashdefault -F _appliance_complete appliance
