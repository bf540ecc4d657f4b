complete -c dstack-verifier -l config -s c -r -d 'configuration'
complete -c dstack-verifier -l check-config -d 'check the file and end'
complete -c dstack-verifier -l print-config -d 'print the configuration in effect and end'
complete -c dstack-verifier -l log-level -x -a 'error warn info debug'
complete -c dstack-verifier -l insecure-dev -d 'allow settings that are only for development'
complete -c dstack-verifier -l verify -r -d 'judge one request'
complete -c dstack-verifier -l verify-cert -r -d 'judge one certificate'
complete -c dstack-verifier -l root -r -d 'trust these roots'
complete -c dstack-verifier -l collateral -r -d 'collateral bundle'
complete -c dstack-verifier -l pccs -x -d 'collateral server'
complete -c dstack-verifier -l image -r -d 'image folder'
complete -c dstack-verifier -l now -x -d 'judge as of this time'
complete -c dstack-verifier -l version
complete -c dstack-verifier -l help
