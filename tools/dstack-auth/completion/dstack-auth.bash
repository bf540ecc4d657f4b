# bash completion for dstack-auth
_dstack_auth() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    case $before in
    --config | -c) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    --log-level) mapfile -t COMPREPLY < <(compgen -W 'error warn info debug' -- "$word") ;;
    *)
        mapfile -t COMPREPLY < <(compgen -W '--config --check-config --print-config --log-level
            --insecure-dev --version --help' -- "$word")
        ;;
    esac
}
complete -o filenames -F _dstack_auth dstack-auth
