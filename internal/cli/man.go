package cli

import (
	"bytes"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

const manLong = `Writes the manual pages of weir and all its commands, one file each, into a folder that is made
when it is missing. Packages have them already: see weir(1).`

func newMan(env *Env) *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:     "man",
		Short:   "write manual pages",
		Long:    manLong,
		Example: "  weir man --dir ~/.local/share/man/man1",
		GroupID: "other",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if folder == "" {
				return usage("--dir is missing; it names the folder to write to, such as ~/.local/share/man/man1")
			}
			if err := env.MkdirAll(folder, 0o755); err != nil {
				return err
			}
			return writeManuals(env, cmd.Root(), folder)
		},
	}
	cmd.Flags().StringVar(&folder, "dir", "", "`FOLDER` to write to")
	return cmd
}

// writeManuals writes the page of a command and of those below it. They are dated as
// the commit that the program was built from, so that the same program writes the
// same bytes.
func writeManuals(env *Env, cmd *cobra.Command, folder string) error {
	if !cmd.IsAvailableCommand() && cmd.HasParent() || cmd.IsAdditionalHelpTopicCommand() {
		return nil
	}
	info, _ := debug.ReadBuildInfo()
	version := readVersion(info)
	header := &doc.GenManHeader{Section: "1", Source: "weir " + version.Version, Manual: "weir"}
	if at, err := time.Parse(time.RFC3339, version.Time); err == nil {
		header.Date = &at
	}
	cmd.DisableAutoGenTag = true
	cmd.InitDefaultHelpFlag()
	var page bytes.Buffer
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return fmt.Errorf("manual of %s: %w", cmd.CommandPath(), err)
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	if err := env.WriteFile(filepath.Join(folder, name), page.Bytes(), 0o644); err != nil {
		return err
	}
	for _, below := range cmd.Commands() {
		if err := writeManuals(env, below, folder); err != nil {
			return err
		}
	}
	return nil
}
