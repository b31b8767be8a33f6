// Package chaos has real nodes fail under load, and checks that nothing that they acknowledged is lost and nothing
// that was overwritten comes back.
//
//	report, err := chaos.Run(ctx, chaos.Options{Executable: kvnode, Dir: dir, Nodes: 3}, chaos.Plan(1, 3, chaos.Kinds, 25*time.Second))
//	fmt.Print(report)
//	report.Violations // none
//
// RunChanges has nodes join and leave meanwhile, with kills at each stage; RunOutages takes the metadata away.
//
// Nodes run with per-write sync. With per-second sync a write that two nodes hold is lost where both are killed
// within a second, which is no error of theirs.
package chaos
