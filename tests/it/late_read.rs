//! A read of leads whose answer is late.

use std::time::Duration;

use bigin_sync::fake::sanity::{Fault as SanityFault, Kind};
use bigin_sync::store::Stage;
use bigin_sync::workers::step;

use crate::process::eventually;
use crate::world::World;

/// How long Sanity holds an answer back while something else happens: long enough for that, even on a busy machine.
pub const HELD: Duration = Duration::from_secs(1);

/// Steps a worker whose read of the leads is answered late, with the state from before `meanwhile` happened.
pub async fn step_with_late_read(world: &World, stage: Stage, meanwhile: impl Future<Output = ()>) {
    let reads = world.sanity_calls(Kind::Doc);
    world.fail_sanity(Kind::Doc, SanityFault::Hang(HELD), 1);
    let meanwhile = async {
        eventually("the read is under way", || async {
            (world.sanity_calls(Kind::Doc) > reads).then_some(())
        })
        .await;
        meanwhile.await;
    };
    let (stepped, ()) = tokio::join!(step(&world.app.context, stage), meanwhile);
    stepped.unwrap();
}
