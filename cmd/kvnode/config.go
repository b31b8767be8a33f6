package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/distrib/config"
)

func configCommand() *cobra.Command {
	group := &cobra.Command{Use: "config", Short: "make, check and show the settings of a node"}
	group.AddCommand(configInitCommand(), configValidateCommand(), configShowCommand())
	return group
}

func configInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "write a file of settings with all defaults, to standard output where FILE is not named",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return config.WriteExample(os.Stdout)
			}
			f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return usageError{fmt.Errorf("%w: no file is replaced", err)}
			}
			if err != nil {
				return err
			}
			return errors.Join(config.WriteExample(f), f.Close())
		},
	}
}

func configValidateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "validate --config FILE",
		Short: "check settings, and the certificates that they name",
		Long:  "Checks the settings as start would take them: from the file, the environment and flags.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := loadConfig(c)
			if err != nil {
				return err
			}
			logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
			if _, err := s.Security(logger); err != nil {
				return usageError{err}
			}
			fmt.Println("ok")
			return nil
		},
	}
	config.Flags(c.Flags())
	return c
}

func configShowCommand() *cobra.Command {
	origins := false
	c := &cobra.Command{
		Use:   "show [--origin]",
		Short: "print the settings as a file that says the same",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := loadConfig(c)
			if err != nil {
				return err
			}
			return s.Write(os.Stdout, origins)
		},
	}
	config.Flags(c.Flags())
	c.Flags().BoolVar(&origins, "origin", false, "say behind each where it comes from")
	return c
}

func loadConfig(c *cobra.Command) (*config.Config, error) {
	s, err := config.Load(c.Flags(), os.Environ())
	if err != nil {
		return nil, usageError{err}
	}
	return s, nil
}
