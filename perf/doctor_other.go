//go:build !linux

package perf

func cpuModel() string { return "" }

func machineMemory() (total, available int64) { return 0, 0 }

func cgroupMemory() (limit int64, where string) { return 0, "" }

func kernelRelease() string { return "" }

func clockSource() string { return "" }

func openFileLimit() (int64, bool) { return 0, false }

func probeDevice(string) []Check { return nil }
