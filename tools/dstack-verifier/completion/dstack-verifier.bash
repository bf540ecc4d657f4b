# bash completion for dstack-verifier
_dstack_verifier() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    case $before in
    --image) mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
    --config | --verify | --verify-cert | --root | --collateral | --policy)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        ;;
    --log-level) mapfile -t COMPREPLY < <(compgen -W 'error warn info debug' -- "$word") ;;
    --pccs | --kds | --now) COMPREPLY=() ;;
    *)
        mapfile -t COMPREPLY < <(compgen -W '--config --check-config --print-config --log-level
            --insecure-dev --verify --verify-cert --root --collateral --pccs --kds --image --policy
            --now --version --help' -- "$word")
        ;;
    esac
}
complete -o filenames -F _dstack_verifier dstack-verifier
