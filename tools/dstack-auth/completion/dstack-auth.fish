complete -c dstack-auth -l config -s c -r -d 'configuration'
complete -c dstack-auth -l check-config -d 'check the file and end'
complete -c dstack-auth -l print-config -d 'print the configuration in effect and end'
complete -c dstack-auth -l log-level -x -a 'error warn info debug'
complete -c dstack-auth -l insecure-dev -d 'allow settings that are only for development'
complete -c dstack-auth -l version
complete -c dstack-auth -l help
