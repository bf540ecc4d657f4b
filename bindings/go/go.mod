module dstack.dev/dstack

go 1.19
