;; WASI 0.1 as modules of Go's compiler use it, on WASI 0.2.
;;
;; It keeps nothing: where a function of 0.2 hands back more than a number, that goes to address
;; 4096. Go's linker leaves 4096 to 12288 free for arguments from JavaScript, which WASI has not.
;; The rest of WASI 0.1 (files, sockets) is appended by the crate: it answers that there is none.
(module
  (import "env" "memory" (memory 0))
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
  (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $print (param i32 i32 i32 i32)))
  (import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop_stream (param i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop_pollable (param i32)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $monotonic (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
    (func $after (param i64) (result i32)))
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall (param i32)))
  (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))

  ;; No arguments, no environment: two numbers that are 0.
  (func $none (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 0))
    (i32.store (local.get 1) (i32.const 0))
    (i32.const 0))
  (func $nothing (param i32 i32) (result i32) (i32.const 0))
  (export "args_sizes_get" (func $none))
  (export "environ_sizes_get" (func $none))
  (export "args_get" (func $nothing))
  (export "environ_get" (func $nothing))

  (func (export "sched_yield") (result i32) (i32.const 0))

  (func (export "proc_exit") (param i32)
    (call $exit (i32.ne (local.get 0) (i32.const 0)))
    (unreachable))

  (func (export "clock_res_get") (param i32 i32) (result i32)
    (i64.store (local.get 1) (i64.const 1))
    (i32.const 0))

  (func (export "clock_time_get") (param $clock i32) (param i64) (param $to i32) (result i32)
    (if (i32.eqz (local.get $clock))
      (then
        (call $wall (i32.const 4096))
        (i64.store (local.get $to)
          (i64.add
            (i64.mul (i64.load (i32.const 4096)) (i64.const 1000000000))
            (i64.load32_u (i32.const 4104)))))
      (else (i64.store (local.get $to) (call $monotonic))))
    (i32.const 0))

  (func (export "random_get") (param $to i32) (param $left i32) (result i32)
    (local $bits i64)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $bits (call $random))
        (if (i32.ge_u (local.get $left) (i32.const 8))
          (then
            (i64.store align=1 (local.get $to) (local.get $bits))
            (local.set $to (i32.add (local.get $to) (i32.const 8)))
            (local.set $left (i32.sub (local.get $left) (i32.const 8))))
          (else
            (i32.store8 (local.get $to) (i32.wrap_i64 (local.get $bits)))
            (local.set $to (i32.add (local.get $to) (i32.const 1)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))))
        (br $next)))
    (i32.const 0))

  ;; Standard output and error only; 8 = no such descriptor.
  (func (export "fd_write")
    (param $fd i32) (param $parts i32) (param $count i32) (param $written i32) (result i32)
    (local $stream i32) (local $at i32) (local $left i32) (local $piece i32) (local $sum i32)
    (if (i32.eq (local.get $fd) (i32.const 1))
      (then (local.set $stream (call $stdout)))
      (else
        (if (i32.ne (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
        (local.set $stream (call $stderr))))
    (block $done
      (loop $part
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $at (i32.load (local.get $parts)))
        (local.set $left (i32.load offset=4 (local.get $parts)))
        (local.set $sum (i32.add (local.get $sum) (local.get $left)))
        (block $whole
          (loop $more
            (br_if $whole (i32.eqz (local.get $left)))
            ;; No more than 4096 bytes at once.
            (local.set $piece
              (select (local.get $left) (i32.const 4096)
                (i32.lt_u (local.get $left) (i32.const 4096))))
            (call $print
              (local.get $stream) (local.get $at) (local.get $piece) (i32.const 4096))
            (local.set $at (i32.add (local.get $at) (local.get $piece)))
            (local.set $left (i32.sub (local.get $left) (local.get $piece)))
            (br $more)))
        (local.set $parts (i32.add (local.get $parts) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $part)))
    (call $drop_stream (local.get $stream))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; Descriptors 0, 1 and 2 are character devices that may do everything.
  (func (export "fd_fdstat_get") (param $fd i32) (param $to i32) (result i32)
    (if (i32.gt_u (local.get $fd) (i32.const 2)) (then (return (i32.const 8))))
    (i64.store (local.get $to) (i64.const 2))
    (i64.store offset=8 (local.get $to) (i64.const -1))
    (i64.store offset=16 (local.get $to) (i64.const -1))
    (i32.const 0))
  (func (export "fd_fdstat_set_flags") (param $fd i32) (param i32) (result i32)
    (select (i32.const 8) (i32.const 0) (i32.gt_u (local.get $fd) (i32.const 2))))

  ;; Waits for the first clock that is subscribed to, relative to now; 58 = not supported.
  (func (export "poll_oneoff")
    (param $from i32) (param $to i32) (param $count i32) (param $ready i32) (result i32)
    (local $pollable i32)
    (block $none
      (loop $next
        (br_if $none (i32.eqz (local.get $count)))
        (if (i32.and
              (i32.eqz (i32.load8_u offset=8 (local.get $from)))
              (i32.eqz (i32.load16_u offset=40 (local.get $from))))
          (then
            (local.set $pollable (call $after (i64.load offset=24 (local.get $from))))
            (call $block (local.get $pollable))
            (call $drop_pollable (local.get $pollable))
            (i64.store (local.get $to) (i64.load (local.get $from)))
            (i64.store offset=8 (local.get $to) (i64.const 0))
            (i64.store offset=16 (local.get $to) (i64.const 0))
            (i64.store offset=24 (local.get $to) (i64.const 0))
            (i32.store (local.get $ready) (i32.const 1))
            (return (i32.const 0))))
        (local.set $from (i32.add (local.get $from) (i32.const 48)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.const 58))
