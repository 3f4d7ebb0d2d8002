# What a run does before its jobs and after them, and what a dry run does instead.


def refuse_no_cells():
    """Raise UserError where filters leave no cell of a file, unless all that the command names needs no cells."""
    mistakes = list(filters_that_leave_nothing(CONFIG, DATASETS))
    named = internals.named_targets(workflow)
    if mistakes and not (named and named <= {"preview", "shift_field"}):
        raise UserError("\n".join(mistakes))


def refuse_unusable_method():
    """Raise UserError where all results are asked for, and cells cannot be found by the method of the config."""
    if internals.named_targets(workflow) <= {"all"} and not internals.deploys_software(
        workflow
    ):
        usable_methods.refuse_unusable(EXPERIMENT)


def begin():
    """What a run does before it plans its jobs, and a command that only reads does not."""
    global BEGAN
    try:
        refuse_no_cells()
        refuse_unusable_method()
        if not WITHOUT:  # else the run that failed holds the lock and waits
            BEGAN = lock.hold(Path(LAYOUT.results))
            last_run.write(
                Path(LAYOUT.results),
                workflow.configfiles,
                command_line.command(),
                internals.started_in(workflow),
            )
            future_dates.bring_back(map(Path, planned.all_targets(EXPERIMENT)), BEGAN)
        write_notes(LAYOUT, DATASETS.values())
        # Before anything of the results is removed.
        decisions.remember(EXPERIMENT, write=True)
        decisions.forget(EXPERIMENT)
        corrections.forget(LAYOUT, DATASETS, EXPERIMENT.corrections)
        edits.forget(LAYOUT, DATASETS, EXPERIMENT.edits)
        edits.keep_for_jobs(LAYOUT, EXPERIMENT.edits)
    except UserError as error:
        sys.exit(str(error))
    messages.when_told_to_stop(TERMINAL.stop)
    if OWNS_TERMINAL:
        internals.hold_interrupts_until_jobs_listen()
        messages.show_on(workflow, TERMINAL)


def rehearse():
    """What a dry run does instead: it tells of the mistakes that the run would stop at, and changes nothing."""
    try:
        refuse_no_cells()
        refuse_unusable_method()
        if OWNS_TERMINAL:
            TERMINAL.inputs()
            messages.show_on(workflow, TERMINAL)
        decisions.remember(EXPERIMENT, write=False)
    except UserError as error:
        sys.exit(str(error))


internals.before_execution(workflow, begin, rehearse, TERMINAL.stopped)


# ---------------------------------------------------------------------------------------------- the end of a run


def findings():
    """What the checks of quality found, and what became of a person's decisions: a line for each dataset."""
    tables = {
        name: decisions.decision_tables(EXPERIMENT, dataset, dataset.fovs)
        for name, dataset in DATASETS.items()
    }
    qualities = [LAYOUT.quality.format(dataset=name) for name in DATASETS]
    outcomes = edits.outcome_tables(LAYOUT, EXPERIMENT.edits, DATASETS)
    scales = [
        LAYOUT.log("find_scale", DATASET).format(dataset=name) for name in DATASETS
    ]
    return [
        *summary.said(scales, BEGAN),
        *summary.findings_by_dataset(qualities),
        *summary.decisions(tables),
        *summary.edits(outcomes),
    ]


def previewed():
    """What the methods tried by a preview cost, and why some could not be tried."""
    logs = [
        LAYOUT.log("preview_segment_{parameters}", DATASET).format(
            dataset=name, parameters=preview.file_stem(tried)
        )
        for name in DATASETS
        for tried in preview.parameter_sets(CONFIG)
    ]
    return summary.said(logs, BEGAN)


def left_over():
    """What lies in the results and does not belong to this configuration: a line, where there is something."""
    found = leftovers.find_leftovers(EXPERIMENT)
    return leftovers.line(found, LAYOUT.results, command_line.command())


def failures():
    """What failed in this run: the wildcards of each job that did by itself, and how."""
    jobs = sorted(
        (job for job in internals.jobs_to_do(workflow) if job.log),
        key=lambda job: job.log[0],
    )
    found = [(job.wildcards_dict, summary.failure(job.log[0], BEGAN)) for job in jobs]
    return [
        (wildcards, failure)
        for wildcards, failure in found
        if failure and TERMINAL.has_failed(failure)
    ]


def finish_rest(failed):
    """Merge and check what is complete, where nothing but failed FOVs keeps that from being done."""
    jobs = internals.jobs_to_do(workflow)
    fovs = partial_run.to_leave_out(
        waiting=[job.wildcards_dict for job in jobs],
        failed=[wildcards for wildcards, _ in failed],
    )
    everything = any(job.rule.name == "all" for job in jobs)
    is_wanted = not TERMINAL.told_to_stop and not internals.is_forced(workflow)
    if fovs and everything and is_wanted:
        partial_run.finish_without(fovs)


onsuccess:
    interrupts.ignore()
    if internals.is_main_process(workflow) and not WITHOUT and SHOWS_END:
        TERMINAL.done([*findings(), *previewed(), *left_over()])


onerror:
    if internals.is_main_process(workflow):
        TERMINAL.end()
        failed = failures()
        finish_rest(failed)
        # Where verify found something, nothing failed: it has named what there is to do.
        undone = [failure for _, failure in failed if failure.place != "verify"]
        if undone or not failed:
            # The findings are said once, by the run that failed.
            TERMINAL.failures(undone, [] if WITHOUT else findings())
