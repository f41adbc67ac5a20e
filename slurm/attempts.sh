# What a job makes of its attempts: run, counted, requeued or given up. slurm/lib.sh sources this.

# Run a command on every task of the job; its output goes to the attempt's own file, each line with the number of its rank. Sets `code`.
run_attempt() {
    say "attempt $attempt of job $SLURM_JOB_ID, $SLURM_NTASKS tasks on $SLURM_JOB_NODELIST: $*"
    say "output: $attempt_log"
    # A rank that dies leaves the others a minute for their stacks and flight records; then they are ended, they cannot go on. In the background,
    # so that the trap below runs at once and not after srun. Every task sees all GPUs of its node.
    srun --label --kill-on-bad-exit=0 --wait=60 --gpu-bind=none --open-mode=append --output="$attempt_log" "$@" &
    local srun=$!
    while
        wait "$srun"
        code=$?
        kill -0 "$srun" 2>/dev/null
    do :; done # a signal ends `wait`, not srun
    # srun returns 0 when Slurm has ended it together with its tasks.
    if [[ $code == 0 && $(job_field JobState) != RUNNING ]]; then
        code=143
    fi
}

# Attempts since the last progress, by what ended them: counted in LOG.failures.
failures=0 stops=0 unfit=0

recall() { [[ ! -f $log.failures ]] || read -r failures stops unfit <"$log.failures"; }

# A counter that cannot be written would never reach its limit. By way of a new file: a full disk must not empty the old one.
remember() {
    echo "$failures $stops $unfit" >"$log.failures.new" && mv "$log.failures.new" "$log.failures" ||
        give_up "$log.failures cannot be written (above), so attempts cannot be counted; mend that and submit again to continue"
}

# What follows from the attempt's exit code. $1: a word that differs when the attempt has got further (the newest checkpoint), $2: its value
# before the attempt; without them it has not. Never returns.
end_attempt() {
    [[ ${1:-} != "${2:-}" ]] || recall
    trap '' TERM # the ranks have ended: what is left takes a second, and nothing may come between
    [[ $code == 0 ]] || grep -sE '^ *[0-9]+: ' "$attempt_log" | tail -n 12
    case $code in
        0)
            rm -f "$log.failures"
            say "attempt $attempt: done"
            exit 0
            ;;
        2)
            say "attempt $attempt: a mistake in what was asked (above); mend it and submit again"
            exit 2
            ;;
        130)
            say "attempt $attempt: stopped by SIGINT; not requeued, submit again to continue"
            exit 130
            ;;
        138 | 143) # SIGUSR1, SIGTERM: preempted, or out of time
            say "attempt $attempt: stopped by Slurm (exit code $code)"
            if [[ ${1:-} == "${2:-}" ]] && ((++stops >= ${MAX_STOPS:-5})); then
                give_up "stopped $stops times without progress: what is done in one piece (a step and its checkpoint, a unit of a build, an" \
                    "evaluation) does not fit into the time limit (--time is to hold the start, that, and what --signal is ahead) or between two" \
                    "preemptions. Submitted again, the job continues where it is"
            fi
            ;;
        *)
            failures=$((failures + 1))
            say "attempt $attempt: failed with exit code $code; failure $failures without progress"
            ((failures < ${MAX_FAILURES:-3})) || give_up "the reason is above or in $attempt_log. Submitted again, the job continues where it is"
            ;;
    esac
    remember
    requeue
}

# An attempt that was not started since the nodes $1 (a,b,c) are unfit: again without them. Never returns.
exclude() {
    say "attempt $attempt: not started, $1 unfit"
    recall
    ((++unfit < ${MAX_UNFIT:-5})) ||
        give_up "$unfit attempts in a row met unfit nodes, which is more than bad luck; see the lines \`bad node\` of the attempts' logs." \
            "Submitted again, the job continues where it is"
    remember
    requeue "$1"
}

# End for good, for the reason in the arguments, also when the trap below has requeued the job already. Never returns.
give_up() {
    say "giving up: $*"
    rm -f "$log.failures" "$log.failures.new"
    [[ -z $requeued ]] || scancel "$self"
    exit "$code"
}

# Put this job back into the queue, without the nodes $1 if given (a,b,c). Never returns.
requeue() {
    local without=${1:-} said
    # Once it has been cancelled, or requeued (by Slurm: a dead node, a preemption without grace; by on_sigterm), a job is COMPLETING: requeueing it
    # now would undo the one and double the other. At its time limit it is COMPLETING as well. And an attempt that went on after Slurm had given
    # its node up must not end the one that runs by now.
    if [[ -n $requeued || $(job_field Restarts) != $((attempt - 1)) ||
        ($(job_field JobState) != RUNNING && $(job_field Reason) != TimeLimit) ]]; then
        say "ended by Slurm (cancelled, or requeued already): nothing more is done"
        exit "${code:-1}"
    fi
    trap '' TERM # the requeue ends this script, which still has something to say
    if [[ -z $without ]]; then
        scontrol requeue "$self" && say "requeued" && exit "${code:-1}"
    else
        without=$(job_field ExcNodeList | sed 's/(null)//'),$without
        # Only a waiting job can be told to avoid a node: so it waits, is told, and is let go, told or not: a job on hold waits for ever.
        if scontrol requeuehold "$self"; then
            scontrol update JobId="$self" ExcNodeList="${without#,}" && said="requeued without ${without#,}" ||
                said="requeued, but Slurm does not take --exclude=${without#,} (above)"
            scontrol release "$self" || scontrol release "$self" ||
                said+="; it is on hold (above) and waits until you say: scontrol release $self"
            say "$said"
            exit "${code:-1}"
        fi
    fi
    say "could not be requeued (sbatch --no-requeue?); submit again to continue${without:+, with --exclude=${without#,}}"
    exit "${code:-1}"
}

# Slurm sends SIGTERM to this shell too. It must not end it before the ranks have written their checkpoint. When the time limit has come without
# that (ranks that hang, a checkpoint that takes longer than --signal is ahead), Slurm will end the job for good, in KillWait seconds.
requeued=
on_sigterm() {
    if [[ -z $requeued && $(job_field Reason) == TimeLimit ]] && scontrol requeue "$self"; then
        requeued=yes
        say "attempt $attempt: its time was over before the ranks had stopped; requeued, to go on at the last checkpoint"
    fi
}
trap on_sigterm TERM
