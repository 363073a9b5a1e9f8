use super::super::object::Kind;
use super::*;
use crate::fake_api::{FakeApi, page};
use serde_json::json;
use tokio::sync::Semaphore;

/// What a busy machine may take.
const SOON: Duration = Duration::from_secs(30);

/// How many lists are under way, and the most that ever were at one time.
#[derive(Default)]
struct Lists {
    now: usize,
    most: usize,
    all: usize,
}

/// One list, from the question to the answer.
struct Listing(Arc<Mutex<Lists>>);

impl Listing {
    fn begin(lists: &Arc<Mutex<Lists>>) -> Self {
        let mut of = lists.lock();
        of.now += 1;
        of.all += 1;
        of.most = of.most.max(of.now);
        drop(of);
        Self(Arc::clone(lists))
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.0.lock().now -= 1;
    }
}

fn at(number: usize) -> ObjectAt {
    ObjectAt {
        kind: Kind::Secret,
        namespace: "team".to_owned(),
        name: format!("s{number}"),
    }
}

#[tokio::test]
async fn many_objects_are_listed_few_at_once() {
    const OBJECTS: usize = 12;
    let (lists, may_end) = (Arc::<Mutex<Lists>>::default(), Arc::new(Semaphore::new(0)));
    let (told, gate) = (Arc::clone(&lists), Arc::clone(&may_end));
    let api = FakeApi::start(move |line| {
        let listing = Listing::begin(&told);
        let gate = Arc::clone(&gate);
        async move {
            let _listing = listing;
            gate.acquire().await.unwrap().forget();
            let name = line.split("metadata.name%3D").nth(1)?;
            let name = name.split(['&', ' ']).next()?;
            Some(page(
                &[json!({ "metadata": { "name": name }, "data": { "k": "dg==" } })],
                None,
            ))
        }
    })
    .await;
    let config = ValuesConfig {
        openings: 3,
        ..ValuesConfig::default()
    };
    let watch = WatchConfig {
        streaming: false,
        ..WatchConfig::default()
    };
    let values = Values::new(api.cluster.clone(), watch, config, CancellationToken::new());
    let keys = Keys::from(["k".to_owned()]);
    values.follow(
        (0..OBJECTS)
            .map(|number| (at(number), keys.clone()))
            .collect(),
    );
    // One after the other ends; whoever could come meanwhile has come.
    for ended in 0..OBJECTS {
        let come = OBJECTS.min(ended + 3);
        let coming = async {
            while lists.lock().all < come {
                tokio::task::yield_now().await;
            }
        };
        let came = tokio::time::timeout(SOON, coming).await;
        came.unwrap_or_else(|_| panic!("{come} lists"));
        may_end.add_permits(1);
    }
    let all: Vec<ObjectAt> = (0..OBJECTS).map(at).collect();
    values.known(&all, SOON).await;
    for at in &all {
        assert!(matches!(values.seen(at), Some(Seen::There(_))), "{at}");
    }
    let lists = lists.lock();
    assert_eq!((lists.all, lists.most), (OBJECTS, 3));
}
