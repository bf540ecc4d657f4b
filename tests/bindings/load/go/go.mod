module load

go 1.19

require dstack.dev/dstack v0.0.0

replace dstack.dev/dstack => ../../../../bindings/go
