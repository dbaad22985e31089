module latchkey.example/driver

go 1.25

require example.com/client v0.0.0

replace example.com/client => ../../../../examples/clients/go
