package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// oneProcessor leaves this process the last processor that it may use. Its threads keep those that
// they began with, and Go has as many for goroutines as it saw at its start: so it starts anew.
func oneProcessor() error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	if allowed.Count() == 1 {
		return nil
	}
	last := len(allowed)*64 - 1
	for last >= 0 && !allowed.IsSet(last) {
		last--
	}
	if last < 0 {
		return errors.New("there is no processor")
	}
	one.Set(last)
	program, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	return fmt.Errorf("start anew: %w", syscall.Exec(program, os.Args, os.Environ()))
}

// processorTime is the user and system time of all threads of this process.
func processorTime() (time.Duration, error) {
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &used); err != nil {
		return 0, err
	}
	return time.Duration(used.Nano()), nil
}
